"""The tensor contract fits together: what one step of the ensemble writes, the next one reads."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError
from tritonclient.grpc import model_config_pb2 as pb

from feature_repo.schema import CONTENT_WIDTH, CONTEXT_WIDTH, HISTORY, ITEM_WIDTH, RANKER_WIDTH, USER_WIDTH
from model_repository.contract import (
    BY_NAME,
    CANDIDATES,
    EMBEDDING_WIDTH,
    EXPLAIN,
    EXPLAINED,
    MODELS,
    PROFILES,
    RANKER,
    RECOMMEND,
    STEPS,
    Profile,
    Tensor,
    sized,
)
from model_repository.render import model_config, recommend_config
from model_repository.traffic import Arm, Change, ServedRelease, Traffic

KIND_CPU = pb.ModelInstanceGroup.KIND_CPU
CHANGE = Change(action="promote", at=datetime(2026, 1, 1, tzinfo=UTC))


def elements(tensor: Tensor) -> tuple[int, ...]:
    """The shape without dimensions of one, which batching adds and removes."""
    return tuple(d for d in tensor.shape if d != 1)


def test_every_step_reads_what_is_there_and_fits() -> None:
    known = {tensor.name: tensor for tensor in RECOMMEND.inputs}
    for step in STEPS:
        reads = {t.name: t for t in step.model.inputs}
        for inner, outer in step.inputs:
            assert reads[inner].dtype == known[outer].dtype
            if step.model is not RANKER:
                assert elements(reads[inner]) == elements(known[outer])
        writes = {t.name: t for t in step.model.outputs}
        known |= {outer: writes[inner] for inner, outer in step.outputs}
    assert {tensor.name for tensor in RECOMMEND.outputs} <= known.keys()


def test_the_forest_reads_a_batch_of_candidates() -> None:
    assert RANKER.inputs[0].shape == (RANKER_WIDTH,)


def test_an_ensemble_pins_every_version() -> None:
    config = recommend_config(
        7, {"candidates": ("candidates", 7), "assemble": ("assemble", 3), "ranker": ("ranker_1a2b", 3)}
    )
    assert config.name == "recommend_7"
    assert {s.model_name: s.model_version for s in config.ensemble_scheduling.step} == {
        "candidates": 7, "assemble": 3, "ranker_1a2b": 3,
    }  # fmt: skip


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_profiles_differ_only_in_placement(model: object) -> None:
    cpu, gpu = (model_config(model, profile) for profile in ("cpu", "gpu"))  # type: ignore[arg-type]
    assert cpu.instance_group[0].kind != gpu.instance_group[0].kind
    for config in (cpu, gpu):
        for field in ("instance_group", "dynamic_batching", "max_batch_size", "model_warmup"):
            config.ClearField(field)
    assert cpu == gpu


@pytest.mark.parametrize("profile", PROFILES)
def test_explaining_has_no_part_in_a_request(profile: Profile) -> None:
    config = model_config(EXPLAIN, profile)
    assert config.instance_group[0].kind == KIND_CPU
    assert not config.model_warmup  # it loads at its first call
    assert EXPLAIN.name not in {step.model.name for step in STEPS}
    assert config.input[0].dims == [EXPLAINED, RANKER_WIDTH]


def test_the_forest_is_configured_for_three_scores() -> None:
    parameters = model_config(BY_NAME["ranker"], "cpu").parameters
    assert parameters["is_classifier"].string_value == "false"  # "true" would answer an arg-max
    assert "predict_proba" not in parameters  # it would replace the sigmoid by a softmax


def released(number: int) -> ServedRelease:
    return ServedRelease(
        release=number, line=1, user_tower=("user_tower", 1), candidates=("candidates", number),
        recommend=(f"recommend_{number}", 1), tower_digest="d", schema_hash="s", triton=("triton:1",),
    )  # fmt: skip


def test_traffic_refuses_an_arm_without_a_release() -> None:
    with pytest.raises(ValidationError, match=r"arms name releases \[2\]"):
        Traffic(
            sequence=1, salt="s", arms=(Arm(variant="champion", release=2, share=1.0),),
            releases=(released(1),), changed=CHANGE,
        )  # fmt: skip


def test_traffic_refuses_shares_that_lose_users() -> None:
    with pytest.raises(ValidationError, match="shares sum to"):
        Traffic(
            sequence=1, salt="s", arms=(Arm(variant="champion", release=1, share=0.9),),
            releases=(released(1),), changed=CHANGE,
        )  # fmt: skip


def test_a_path_of_another_width_differs_in_nothing_but_the_width() -> None:
    for model in (*MODELS, RECOMMEND):
        dims = [d for tensor in (*model.inputs, *model.outputs) for d in tensor.shape]
        narrow = [d for tensor in sized((*model.inputs, *model.outputs), 7) for d in tensor.shape]
        assert narrow == [7 if d == CANDIDATES else d for d in dims]
    widths = {CONTENT_WIDTH, CONTEXT_WIDTH, ITEM_WIDTH, USER_WIDTH, RANKER_WIDTH, HISTORY, EMBEDDING_WIDTH}
    assert CANDIDATES not in widths  # `sized` knows the dimension by its size
