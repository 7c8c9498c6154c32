"""config.pbtxt from the tensor contract, through Triton's own protobuf text format.

Run `python -m exporters configs` to rewrite the committed files of both profiles.
"""

from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from model_repository.contract import (
    BY_NAME,
    CANDIDATES,
    MODELS,
    PROFILES,
    RECOMMEND,
    STEPS,
    Model,
    Profile,
    Tensor,
    recommend_name,
    sized,
)

FOLDER = Path(__file__).parent
_NOTE = "# Generated from model_repository/contract.py by `python -m exporters configs`; edits are lost.\n"


def model_config(model: Model, profile: Profile, candidates: int = CANDIDATES) -> pb.ModelConfig:
    """Configuration of a component model in one profile, for a path that ranks `candidates` items."""
    place, inputs = model.placement(profile), sized(model.inputs, candidates)
    config = pb.ModelConfig(
        name=model.name,
        backend=model.backend,
        max_batch_size=place.max_batch,
        input=[pb.ModelInput(**_io(tensor)) for tensor in inputs],
        output=[pb.ModelOutput(**_io(tensor)) for tensor in sized(model.outputs, candidates)],
        version_policy=pb.ModelVersionPolicy(all=pb.ModelVersionPolicy.All()),
        instance_group=[pb.ModelInstanceGroup(kind=_kind(profile), count=place.count)],
        model_warmup=[_warmup(inputs, place.max_batch)],
    )
    if place.window_us is not None:
        config.dynamic_batching.max_queue_delay_microseconds = place.window_us
    for key, value in model.parameters:
        config.parameters[key].string_value = value
    return config


def recommend_config(release: int, versions: Mapping[str, int], candidates: int = CANDIDATES) -> pb.ModelConfig:
    """The ensemble `recommend_N`: every step pinned to the version in `versions` (by slot)."""
    config = pb.ModelConfig(
        name=recommend_name(release),
        platform="ensemble",
        max_batch_size=0,
        input=[pb.ModelInput(**_io(tensor)) for tensor in sized(RECOMMEND.inputs, candidates)],
        output=[pb.ModelOutput(**_io(tensor)) for tensor in sized(RECOMMEND.outputs, candidates)],
        version_policy=pb.ModelVersionPolicy(all=pb.ModelVersionPolicy.All()),
    )
    for step in STEPS:
        config.ensemble_scheduling.step.add(
            model_name=step.model.name,
            model_version=versions[step.model.name],
            input_map=dict(step.inputs),
            output_map=dict(step.outputs),
        )
    return config


def text(config: pb.ModelConfig) -> str:
    """The configuration as the text of a config.pbtxt."""
    return _NOTE + str(text_format.MessageToString(config))


def committed_configs() -> dict[Path, str]:
    """Every committed config.pbtxt: {path: text}. `recommend_1` shows the ensemble of the first release."""
    first = {model.name: 1 for model in MODELS}
    configs: dict[Path, str] = {}
    for profile in PROFILES:
        for model in MODELS:
            configs[FOLDER / profile / model.name / "config.pbtxt"] = text(model_config(model, profile))
        ensemble = FOLDER / profile / recommend_name(1) / "config.pbtxt"
        configs[ensemble] = text(recommend_config(1, first))
    return configs


def _io(tensor: Tensor) -> dict[str, object]:
    return {"name": tensor.name, "data_type": pb.DataType.Value(f"TYPE_{tensor.dtype}"), "dims": tensor.shape}


def _kind(profile: Profile) -> int:
    return int(pb.ModelInstanceGroup.KIND_GPU if profile == "gpu" else pb.ModelInstanceGroup.KIND_CPU)


def _warmup(inputs: tuple[Tensor, ...], max_batch: int) -> pb.ModelWarmup:
    warmup = pb.ModelWarmup(name="zeros", batch_size=1 if max_batch else 0)
    for tensor in inputs:
        dtype = pb.DataType.Value(f"TYPE_{tensor.dtype}")
        warmup.inputs[tensor.name].CopyFrom(pb.ModelWarmup.Input(data_type=dtype, dims=tensor.shape, zero_data=True))
    return warmup


__all__ = ["BY_NAME", "committed_configs", "model_config", "recommend_config", "text"]
