"""What is sent to Triton and what comes back, as bytes: requests are joined, answers are views into the reply.

A `Call` is one model version with its tensors from the contract; everything of its request but the tensors' contents
is serialised once. Protobuf allows a message to be continued by appending fields, so a request is
`head + (tag, length, content) for each input`, and no message object is built per request.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2 as pb

from model_repository.contract import Dtype, Model, Tensor, whole
from model_repository.traffic import ServedModel
from orchestrator.errors import BadAnswerError
from orchestrator.frames import varint

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
DTYPES: Mapping[Dtype, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "INT64": np.dtype("<i8"),
    "INT32": np.dtype("<i4"),
    "UINT8": np.dtype("u1"),
}
_RAW_INPUT_TAG = bytes([pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2])


class Call:
    """One model version, the contract of its tensors, the outputs wanted of it, and the servers that have it.

    `rows` of a batched model are asked for at once.
    """

    def __init__(
        self, model: Model, served: ServedModel, outputs: Sequence[Tensor], targets: tuple[str, ...] = (), rows: int = 1
    ) -> None:
        batched = model.cpu.max_batch > 0
        self.slot = model.name
        self.name, self.version = served
        self.targets = targets
        self.inputs = tuple(whole(t, rows) if batched else t for t in model.inputs)
        self.outputs = tuple(whole(t, rows) if batched else t for t in outputs)
        self._by_name = {tensor.name: tensor for tensor in self.outputs}

    @cached_property
    def _head(self) -> bytes:
        message = pb.ModelInferRequest(model_name=self.name, model_version=str(self.version))
        for tensor in self.inputs:
            message.inputs.add(name=tensor.name, datatype=tensor.dtype, shape=tensor.shape)
        for tensor in self.outputs:
            message.outputs.add(name=tensor.name)
        return bytes(message.SerializeToString())

    @cached_property
    def _prefixes(self) -> tuple[tuple[bytes, np.dtype[Any], int], ...]:
        """For each input: tag and length, dtype, number of elements."""
        sizes = [(math.prod(tensor.shape), DTYPES[tensor.dtype]) for tensor in self.inputs]
        return tuple((_RAW_INPUT_TAG + varint(n * dtype.itemsize), dtype, n) for n, dtype in sizes)

    def encode(self, inputs: Sequence[Array]) -> bytes:
        """The request, serialised. Raises ValueError when an array does not fit its tensor."""
        parts = [self._head]
        for (prefix, dtype, elements), array in zip(self._prefixes, inputs, strict=True):
            if array.dtype != dtype or array.size != elements:
                raise ValueError(f"{self.name}: expected {elements} × {dtype}, got {array.size} × {array.dtype}")
            parts += (prefix, array.tobytes())
        return b"".join(parts)

    def decode(self, response: Any) -> Arrays:
        """Outputs by name, read-only. Raises BadAnswerError when one is missing or does not fit the contract."""
        raw = response.raw_output_contents
        if len(raw) != len(response.outputs):
            raise BadAnswerError(f"{self.name}: {len(raw)} contents for {len(response.outputs)} outputs")
        arrays = {o.name: self._array(o, content) for o, content in zip(response.outputs, raw, strict=True)}
        if len(arrays) != len(self.outputs):
            raise BadAnswerError(f"{self.name}: answered {sorted(arrays)}")
        return arrays

    def _array(self, output: Any, content: bytes) -> Array:
        tensor, shape = self._by_name.get(output.name), tuple(output.shape)
        if tensor is None or output.datatype != tensor.dtype or not fits(shape, tensor.shape):
            raise BadAnswerError(f"{self.name}: {output.name} is {output.datatype} {shape}, not in the contract")
        dtype = DTYPES[tensor.dtype]
        if len(content) != math.prod(shape) * dtype.itemsize:
            raise BadAnswerError(f"{self.name}: {output.name} has {len(content)} bytes for {shape} {tensor.dtype}")
        return np.frombuffer(content, dtype).reshape(shape)


def fits(shape: tuple[int, ...], contract: tuple[int, ...]) -> bool:
    """Whether a shape fits the contract's, where −1 is any positive size."""
    return len(shape) == len(contract) and all(
        got == wanted or (wanted == -1 and got > 0) for got, wanted in zip(shape, contract, strict=True)
    )
