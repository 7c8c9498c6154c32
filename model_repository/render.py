"""config.pbtxt from the tensor contract, through Triton's own protobuf text format.

Run `python -m exporters configs` to rewrite the committed files of both profiles.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from model_repository.contract import (
    BY_NAME,
    CANDIDATES,
    COMPONENTS,
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
from model_repository.traffic import ServedModel

FOLDER = Path(__file__).parent
_NOTE = "# Generated from model_repository/contract.py by `python -m exporters configs`; edits are lost.\n"


def model_config(
    model: Model, profile: Profile, candidates: int = CANDIDATES, name: str | None = None
) -> pb.ModelConfig:
    """Configuration of a component model in one profile, for a path that ranks `candidates` items.

    `name` is what Triton calls it, the slot's own name unless another contract holds that.
    """
    place, inputs = model.placement(profile), sized(model.inputs, candidates)
    config = pb.ModelConfig(
        name=name or model.name,
        backend=model.backend,
        max_batch_size=place.max_batch,
        input=[pb.ModelInput(**_io(tensor)) for tensor in inputs],
        output=[pb.ModelOutput(**_io(tensor)) for tensor in sized(model.outputs, candidates)],
        version_policy=pb.ModelVersionPolicy(all=pb.ModelVersionPolicy.All()),
        instance_group=[pb.ModelInstanceGroup(kind=_kind("cpu" if model.on_cpu else profile), count=place.count)],
        model_warmup=[_warmup(inputs, place.max_batch)] if model.warmed else [],
    )
    if place.window_us is not None:
        config.dynamic_batching.max_queue_delay_microseconds = place.window_us
    for key, value in model.parameters:
        config.parameters[key].string_value = value
    return config


def recommend_config(release: int, models: Mapping[str, ServedModel], candidates: int = CANDIDATES) -> pb.ModelConfig:
    """The ensemble `recommend_N`: every step pinned to the model and version in `models` (by slot)."""
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
            model_name=models[step.model.name][0],
            model_version=models[step.model.name][1],
            input_map=dict(step.inputs),
            output_map=dict(step.outputs),
        )
    return config


def contract_hash(config: pb.ModelConfig) -> str:
    """8 hex digits over what callers and artifacts depend on: backend, tensors, parameters, whether it batches.

    Where and how often it runs (instances, batching window and size, warm-up) is not part of it.
    """
    contract = pb.ModelConfig()
    contract.CopyFrom(config)
    for field in ("name", "instance_group", "dynamic_batching", "model_warmup", "version_policy"):
        contract.ClearField(field)
    contract.max_batch_size = min(contract.max_batch_size, 1)
    return hashlib.sha256(contract.SerializeToString(deterministic=True)).hexdigest()[:8]


def parse(content: str) -> pb.ModelConfig:
    """A config.pbtxt as a message. Raises ValueError when it is none."""
    try:
        return text_format.Parse(content, pb.ModelConfig())
    except text_format.ParseError as error:
        raise ValueError(f"not a config.pbtxt: {error}") from None


def text(config: pb.ModelConfig) -> str:
    """The configuration as the text of a config.pbtxt."""
    return _NOTE + str(text_format.MessageToString(config))


def committed_configs() -> dict[Path, str]:
    """Every committed config.pbtxt: {path: text}. `recommend_1` shows the ensemble of the first release."""
    first = {model.name: (model.name, 1) for model in MODELS}
    configs: dict[Path, str] = {}
    for profile in PROFILES:
        for model in COMPONENTS:
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


__all__ = ["BY_NAME", "committed_configs", "contract_hash", "model_config", "parse", "recommend_config", "text"]
