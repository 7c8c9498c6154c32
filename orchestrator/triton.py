"""A lean Triton client: one HTTP/2 connection to one server, calls that are mostly bytes made beforehand.

Interfaces: `Inference`, `Connection`. Their fake is `orchestrator.fakes.FakeInference`.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from tritonclient.grpc import service_pb2 as pb

from model_repository.traffic import ServedModel
from orchestrator import tracing
from orchestrator.call import Array, Arrays, Call
from orchestrator.errors import BadAnswerError, LateError, StageError, UnavailableError, UnknownModelError
from orchestrator.frames import header_block
from orchestrator.http2 import Http2
from orchestrator.link import Link
from orchestrator.stream import Reply

SERVICE = "/inference.GRPCInferenceService"
GIVE_UP_S = 5  # a call that nobody waits for ends then at the latest
CLOSE_S = 1.0  # that a closing connection leaves to its calls
CONNECT_S = 1.0
DEADLINE_EXCEEDED, NOT_FOUND, UNAVAILABLE = 4, 5, 14  # gRPC's statuses


class Inference(Protocol):
    """What a request needs of Triton."""

    async def infer(self, call: Call, inputs: Sequence[Array], timeout_s: float) -> Arrays:
        """Outputs by name. Raises LateError, UnavailableError, UnknownModelError or BadAnswerError."""


class Connection(Inference, Protocol):
    """One Triton server."""

    async def ready(self, model: ServedModel, timeout_s: float) -> bool:
        """Whether this version of the model would answer now."""

    async def close(self) -> None:
        """Give the connection back."""


class TritonClient:
    """A `Connection` to `host:port`. Made inside a running event loop; it connects by itself, again and again.

    A late call is taken back from a server that `cancels`. Triton before 25.06 may end with a segmentation fault when a
    call is cancelled as it completes (triton-inference-server/server #7368, #8034), so there it is left running, with
    at most `most_left` others.
    """

    def __init__(self, target: str, message_bytes: int = 64 << 20, cancels: bool = False, most_left: int = 512) -> None:
        self.target = target
        self._most_left = most_left
        self._cancels = cancels
        self._message_bytes = message_bytes
        self._infer, self._ready = (method(target, name) for name in ("ModelInfer", "ModelReady"))
        self._link = Link("triton", self._connect)
        self._link.start()

    async def infer(self, call: Call, inputs: Sequence[Array], timeout_s: float) -> Arrays:
        """See `Inference`."""
        reply = await self._call(self._infer, call.encode(inputs), timeout_s)
        return call.decode(pb.ModelInferResponse.FromString(reply.message))

    async def ready(self, model: ServedModel, timeout_s: float) -> bool:
        """See `Connection`."""
        name, version = model
        request = pb.ModelReadyRequest(name=name, version=str(version)).SerializeToString()
        try:
            reply = await self._call(self._ready, request, timeout_s)
        except StageError:
            return False
        return bool(pb.ModelReadyResponse.FromString(reply.message).ready)

    @property
    def left(self) -> int:
        """Calls under way that nobody waits for."""
        return self._link.wire().left if self._link.stands else 0

    async def close(self) -> None:
        """See `Connection`."""
        if (wire := await self._link.close()) is not None:
            await wire.finish(0.0 if self._cancels else CLOSE_S)

    async def _call(self, headers: bytes, message: bytes, timeout_s: float) -> Reply:
        await self._link.tried(timeout_s)
        wire = self._link.wire()
        if wire.left >= self._most_left:
            raise UnavailableError(f"{wire.left} late calls are still unanswered")
        if (trace := tracing.outgoing()) is not None:
            headers += header_block(trace)
        reply = await wire.call(headers, message, timeout_s, self._cancels)
        if reply.status:
            raise stage_error(reply.status, reply.details)
        return reply

    async def _connect(self) -> Http2:
        host, _, port = self.target.rpartition(":")
        if not host or not port.isdigit():
            raise UnavailableError(f"{self.target!r} is not host:port")
        async with asyncio.timeout(CONNECT_S):
            loop = asyncio.get_running_loop()
            _, wire = await loop.create_connection(lambda: Http2(self._message_bytes), host.strip("[]"), int(port))
        return wire


def method(target: str, name: str) -> bytes:
    """The header block of a call of Triton's service."""
    headers = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": f"{SERVICE}/{name}".encode(),
        b":authority": target.encode(),
        b"te": b"trailers",
        b"content-type": b"application/grpc",
        b"grpc-timeout": b"%dS" % GIVE_UP_S,
    }
    return header_block(headers)


def stage_error(status: int, details: str) -> StageError:
    """A failed call as one of our errors. Triton says unknown model with NOT_FOUND or, unloaded, UNAVAILABLE."""
    if status == DEADLINE_EXCEEDED:
        return LateError("triton")
    if status == NOT_FOUND or "unknown model" in details.lower():
        return UnknownModelError(details[:120])
    if status == UNAVAILABLE:
        return UnavailableError(details[:120])
    return BadAnswerError(f"gRPC status {status}: {details[:120]}")
