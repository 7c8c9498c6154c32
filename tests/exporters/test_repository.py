"""The runtime repository: a name keeps its contract, versions are put in once, drafts go."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.settings import Settings
from exporters.errors import ExportError
from exporters.manifest import FILE, IndexFacts, Manifest, Slot, file_entries
from exporters.names import CONFIG, model_name, model_names
from exporters.repository import install, installed, needed, remove_drafts
from feature_repo.schema import RANKER_WIDTH, SCHEMA
from model_repository.contract import CANDIDATE_SEARCH, COMPONENTS, RANKER, USER_TOWER, Placement, Tensor
from model_repository.render import contract_hash, model_config, parse, text
from tests.ports import isolated_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return isolated_settings(tmp_path)


def write_release(settings: Settings, number: int = 1, k: int = 500, **names: str) -> Manifest:
    """A release with the ensemble's three models, whose artifacts hold a word each."""
    folder, slots = settings.releases / str(number), {}
    for slot, version in (("ranker", 1), ("assemble", 1), ("candidates", number)):
        (folder / slot).mkdir(parents=True)
        (folder / slot / "model.json").write_text(f'"{slot} {number}"')
        slots[slot] = Slot(model=names.get(slot, slot), version=version, files=file_entries(folder / slot))
    index = IndexFacts(kind="flat", items=1, dimension=128, candidates=k, recall=1.0, bytes_per_item=512)
    manifest = Manifest(
        release=number, line=1, slots=slots, index=index, schema_hash=SCHEMA.hash, tower_digest="d", source="sample",
        as_of="2026-10-01", libraries={}, gates={}, metrics={}, created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    (folder / FILE).write_text(manifest.model_dump_json())
    return manifest


def held(settings: Settings, model: str) -> str:
    return (settings.runtime_repository / model / CONFIG).read_text()


def test_installing_puts_configs_versions_and_the_ensemble(settings: Settings) -> None:
    manifest = write_release(settings)
    install(settings.runtime_repository, settings, manifest, ())
    assert set(installed(settings.runtime_repository)) == needed(manifest) == {
        ("assemble", 1), ("ranker", 1), ("candidates", 1), ("recommend_1", 1),
    }  # fmt: skip
    steps = parse(held(settings, "recommend_1")).ensemble_scheduling.step
    assert [(step.model_name, step.model_version) for step in steps] == [
        ("candidates", 1), ("assemble", 1), ("ranker", 1),
    ]  # fmt: skip


def test_what_is_there_is_not_touched(settings: Settings) -> None:
    install(settings.runtime_repository, settings, write_release(settings), ())
    before = {path: path.stat().st_mtime_ns for path in settings.runtime_repository.rglob("*") if path.is_file()}
    install(settings.runtime_repository, settings, write_release(settings, 2), {("ranker", 1)})
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert ("candidates", 2) in set(installed(settings.runtime_repository))


def test_a_name_belongs_to_its_first_contract(settings: Settings) -> None:
    assert set(model_names(settings).values()) == {model.name for model in COMPONENTS}
    install(settings.runtime_repository, settings, write_release(settings), ())
    assert model_names(settings)["candidates"] == "candidates"
    other = model_names(settings.model_copy(update={"candidates": 300}))["candidates"]
    assert other == f"candidates_{contract_hash(model_config(CANDIDATE_SEARCH, 'cpu', 300))}"


@pytest.mark.parametrize(
    "changed",
    [
        replace(RANKER, inputs=(Tensor("input__0", "FP32", (RANKER_WIDTH + 1,)),)),  # one feature more
        replace(RANKER, backend="onnxruntime"),
        replace(RANKER, parameters=(*RANKER.parameters, ("use_experimental_optimizations", "true"))),
        replace(RANKER, cpu=Placement(max_batch=0)),
    ],
    ids=["features", "backend", "parameter", "no batching"],
)
def test_a_changed_contract_gets_a_name_of_its_own(settings: Settings, changed: object) -> None:
    install(settings.runtime_repository, settings, write_release(settings), ())
    name = model_name(settings.runtime_repository, changed, "cpu", 500)  # type: ignore[arg-type]
    assert name.startswith("ranker_")
    assert len(name) == len("ranker_") + 8


def test_a_changed_placement_keeps_the_name(settings: Settings) -> None:
    install(settings.runtime_repository, settings, write_release(settings), ())
    moved = replace(RANKER, cpu=Placement(max_batch=1024, window_us=100, count=4))
    assert model_name(settings.runtime_repository, moved, "cpu", 500) == "ranker"
    assert contract_hash(model_config(USER_TOWER, "cpu")) == contract_hash(model_config(USER_TOWER, "gpu"))


def test_a_held_name_is_refused_and_nothing_is_overwritten(settings: Settings) -> None:
    install(settings.runtime_repository, settings, write_release(settings), ())
    before = held(settings, "candidates")
    with pytest.raises(ExportError, match="assemble: another contract holds this name"):
        install(settings.runtime_repository, settings, write_release(settings, 2, 300), ())
    assert held(settings, "candidates") == before


def test_a_release_under_its_own_name_stands_beside(settings: Settings) -> None:
    install(settings.runtime_repository, settings, write_release(settings), ())
    name = model_names(settings.model_copy(update={"candidates": 300}))["candidates"]
    manifest = write_release(settings, 2, 300, **model_names(settings.model_copy(update={"candidates": 300})))
    install(settings.runtime_repository, settings, manifest, ())
    assert {(name, 2), ("candidates", 1)} <= set(installed(settings.runtime_repository))
    steps = parse(held(settings, "recommend_2")).ensemble_scheduling.step
    assert steps[0].model_name == name


def test_a_config_is_rewritten_only_while_nothing_of_it_is_loaded(settings: Settings) -> None:
    manifest = write_release(settings)
    install(settings.runtime_repository, settings, manifest, ())
    wanted = held(settings, "ranker")
    config = parse(wanted)
    config.max_batch_size = 64
    path = settings.runtime_repository / "ranker" / CONFIG
    path.write_text(text(config))
    install(settings.runtime_repository, settings, manifest, {("ranker", 1)})
    assert parse(path.read_text()).max_batch_size == 64
    install(settings.runtime_repository, settings, manifest, ())
    assert path.read_text() == wanted


def test_drafts_of_an_interrupted_run_go(settings: Settings) -> None:
    install(settings.runtime_repository, settings, write_release(settings), ())
    draft = settings.runtime_repository / "candidates" / ".version-1234"
    draft.mkdir()
    (draft / "index.faiss").write_bytes(b"half")
    remove_drafts(settings.runtime_repository)
    assert not draft.exists()
    assert ("candidates", 1) in set(installed(settings.runtime_repository))
