"""What the python-based backends share: reading a model's configuration, and batching requests.

The folder layout is Triton's own: `<backend directory>/<name>/model.py` serves every model whose config.pbtxt says
`backend: "<name>"`. Configuration keys mean what they mean to the C++ backend of that name; a key a backend does
not read is an error, because silently ignoring it would make this runtime and the container disagree.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

Arrays = dict[str, np.ndarray]
NUMPY_2 = int(np.__version__.split(".")[0]) >= 2


class ConfigError(ValueError):
    """The model's configuration asks for something this backend does not do."""


@dataclass(frozen=True)
class ModelArgs:
    """What Triton tells an instance of a model: its configuration, its version folder, its device."""

    config: Mapping[str, Any]
    folder: Path
    gpu: int | None

    @classmethod
    def read(cls, args: Mapping[str, str], parameters: Mapping[str, str]) -> "ModelArgs":
        """From the `initialize` arguments; `parameters` is the allow-list {key: the source line it mirrors}."""
        config = json.loads(args["model_config"])
        unknown = sorted(set(config.get("parameters", {})) - set(parameters))
        if unknown:
            raise ConfigError(f"model {config['name']}: unknown parameter {unknown}; known: {sorted(parameters)}")
        gpu = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None
        return cls(config, Path(args["model_repository"]) / args["model_version"], gpu)

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.config["name"])

    @property
    def batched(self) -> bool:
        """Whether requests carry a batch dimension to be merged along."""
        return int(self.config["max_batch_size"]) > 0

    def parameter(self, key: str, default: str) -> str:
        """A parameter's string value."""
        return str(self.config.get("parameters", {}).get(key, {}).get("string_value", default))

    def integer(self, key: str, default: int, least: int = 0) -> int:
        """A parameter's value as an integer ≥ `least`. Raises ConfigError."""
        value = self.parameter(key, str(default))
        if not value.lstrip("-").isdigit() or int(value) < least:
            raise ConfigError(f"model {self.name}: parameter {key} is {value!r}, expected an integer >= {least}")
        return int(value)

    def file(self, name: str) -> str:
        """Path of an artifact in the version folder. Raises ConfigError when it is missing."""
        path = self.folder / name
        if not path.is_file():
            raise ConfigError(f"model {self.name}: {name} is missing in version folder {self.folder.name}")
        return str(path)

    def tensors(self, side: str) -> list[str]:
        """Names of the configured `input` or `output` tensors, in order."""
        return [tensor["name"] for tensor in self.config[side]]


def answer(
    requests: Sequence[Any], args: ModelArgs, compute: Callable[[Arrays], Arrays], apart: bool = False
) -> list[Any]:
    """Run `compute` over all requests at once (batched model) or one by one (others, or `apart`), and answer each.

    A failure answers the requests that were computed together with an error; the instance lives on.
    """
    inputs = [_inputs(request, args.tensors("input")) for request in requests]
    groups = [list(range(len(requests)))] if args.batched and not apart else [[i] for i in range(len(requests))]
    responses: list[Any] = [None] * len(requests)
    for group in groups:
        for index, response in zip(group, _answer_group([inputs[i] for i in group], args, compute), strict=True):
            responses[index] = response
    return responses


def _inputs(request: Any, names: Sequence[str]) -> Arrays:
    # `as_numpy` answers zeros under numpy 2 with this server's stub, silently; DLPack is right under 1 and 2.
    return {name: np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name)) for name in names}


def _answer_group(inputs: Sequence[Arrays], args: ModelArgs, compute: Callable[[Arrays], Arrays]) -> list[Any]:
    try:
        if len(inputs) == 1:
            return [_response(compute(inputs[0]))]
        merged = {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}
        return _split(compute(merged), [len(next(iter(one.values()))) for one in inputs])
    except Exception as error:  # the boundary: whatever went wrong is the requests' answer, not the process's end
        failure = pb_utils.TritonError(f"{args.name}: {error}")
        return [pb_utils.InferenceResponse(output_tensors=[], error=failure) for _ in inputs]


def _split(outputs: Arrays, sizes: Sequence[int]) -> list[Any]:
    ends = np.cumsum(sizes)
    return [
        _response({name: array[end - size : end] for name, array in outputs.items()})
        for size, end in zip(sizes, ends, strict=True)
    ]


def _response(outputs: Arrays) -> Any:
    tensors = [_tensor(name, np.ascontiguousarray(array)) for name, array in outputs.items()]
    return pb_utils.InferenceResponse(output_tensors=tensors)


def _tensor(name: str, array: np.ndarray) -> Any:
    """An output tensor: under numpy 2 the stub's constructor leaves it empty, under numpy 1 DLPack ends the stub."""
    return pb_utils.Tensor.from_dlpack(name, array) if NUMPY_2 else pb_utils.Tensor(name, array)
