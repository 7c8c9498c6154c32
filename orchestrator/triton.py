"""A lean Triton client on grpc.aio: requests are joined bytes, answers are views into the reply's buffers.

A `Call` is one model version with its tensors from the contract; everything of its request but the tensors' contents
is serialised once. Protobuf allows a message to be continued by appending fields, so a request is
`head + (tag, length, content) for each input`, and no message object is built per request.

Interfaces: `Inference`, `Connection`. Their fake is `orchestrator.fakes.FakeInference`.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2 as pb

from model_repository.contract import Dtype, Model, Tensor, whole
from model_repository.traffic import ServedModel
from orchestrator import tracing
from orchestrator.errors import BadAnswerError, LateError, StageError, UnavailableError, UnknownModelError

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
SERVICE = "/inference.GRPCInferenceService"
DTYPES: Mapping[Dtype, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "INT64": np.dtype("<i8"),
    "INT32": np.dtype("<i4"),
    "UINT8": np.dtype("u1"),
}
GIVE_UP_S = 5.0  # a call that nobody waits for ends then at the latest
CLOSE_S = 1.0  # that a closing connection leaves to its calls
_RAW_INPUT_TAG = bytes([pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2])


class Inference(Protocol):
    """What a request needs of Triton."""

    async def infer(self, call: "Call", inputs: Sequence[Array], timeout_s: float) -> Arrays:
        """Outputs by name. Raises LateError, UnavailableError, UnknownModelError or BadAnswerError."""


class Connection(Inference, Protocol):
    """One Triton server."""

    async def ready(self, model: ServedModel, timeout_s: float) -> bool:
        """Whether this version of the model would answer now."""

    async def close(self) -> None:
        """Give the connection back."""


class Call:
    """One model version, the contract of its tensors, the outputs wanted of it, and the servers that have it."""

    def __init__(
        self, model: Model, served: ServedModel, outputs: Sequence[Tensor], targets: tuple[str, ...] = ()
    ) -> None:
        batched = model.cpu.max_batch > 0
        self.slot = model.name
        self.name, self.version = served
        self.targets = targets
        self.inputs = tuple(whole(t) if batched else t for t in model.inputs)
        self.outputs = tuple(whole(t) if batched else t for t in outputs)
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


def varint(value: int) -> bytes:
    """Protobuf's variable-length integer."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


class TritonClient:
    """A `Connection` over one gRPC channel to one server. The channel connects by itself, with short pauses.

    A late call is taken back from a server that `cancels`. Triton before 25.06 may end with a segmentation fault when a
    call is cancelled as it completes (triton-inference-server/server #7368, #8034), so there it is left running, with
    at most `most_left` others.
    """

    def __init__(self, target: str, message_bytes: int = 64 << 20, cancels: bool = False, most_left: int = 512) -> None:
        self.target = target
        self._most_left = most_left
        self._cancels = cancels
        self._left: set[asyncio.Future[Any]] = set()
        self._channel = grpc.aio.insecure_channel(target, options=_options(message_bytes))
        self._infer = self._channel.unary_unary(
            f"{SERVICE}/ModelInfer", request_serializer=None, response_deserializer=pb.ModelInferResponse.FromString
        )
        self._ready = self._channel.unary_unary(
            f"{SERVICE}/ModelReady",
            request_serializer=pb.ModelReadyRequest.SerializeToString,
            response_deserializer=pb.ModelReadyResponse.FromString,
        )

    async def infer(self, call: Call, inputs: Sequence[Array], timeout_s: float) -> Arrays:
        """See `Inference`."""
        request = call.encode(inputs)
        try:
            if self._cancels:
                response = await self._infer(request, timeout=timeout_s, metadata=tracing.metadata())
            else:
                response = await self._uncancelled(request, timeout_s)
        except grpc.aio.AioRpcError as error:
            raise stage_error(error.code(), error.details() or "") from None
        return call.decode(response)

    async def _uncancelled(self, request: bytes, timeout_s: float) -> Any:
        if len(self._left) >= self._most_left:
            raise UnavailableError(f"{len(self._left)} late calls are still unanswered")
        answer = asyncio.ensure_future(self._infer(request, timeout=GIVE_UP_S, metadata=tracing.metadata()))
        try:
            await asyncio.wait((answer,), timeout=timeout_s)
            if answer.done():
                return answer.result()
            raise LateError("triton")
        finally:
            if not answer.done():
                self._left.add(answer)
                answer.add_done_callback(self._forget)

    def _forget(self, answer: "asyncio.Future[Any]") -> None:
        self._left.discard(answer)
        if not answer.cancelled():
            answer.exception()  # nobody asks any more

    async def ready(self, model: ServedModel, timeout_s: float) -> bool:
        """See `Connection`."""
        name, version = model
        try:
            answer = await self._ready(pb.ModelReadyRequest(name=name, version=str(version)), timeout=timeout_s)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.ready)

    async def close(self) -> None:
        """See `Connection`."""
        await self._channel.close(None if self._cancels else CLOSE_S)


def stage_error(code: grpc.StatusCode, details: str) -> StageError:
    """A failed call as one of our errors. Triton says unknown model with NOT_FOUND or, unloaded, UNAVAILABLE."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return LateError("triton")
    if code is grpc.StatusCode.NOT_FOUND or "unknown model" in details.lower():
        return UnknownModelError(details[:120])
    if code is grpc.StatusCode.UNAVAILABLE:
        return UnavailableError(details[:120])
    return BadAnswerError(f"{code.name}: {details[:120]}")


def _options(message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_send_message_length", message_bytes),
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),  # the default of two minutes would outlive any outage
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
