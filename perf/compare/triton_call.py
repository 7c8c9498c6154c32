"""One call of the ensemble, from Python: milliseconds of CPU that the caller spends on it, our client beside others.

Several calls are under way at once, as in an orchestrator. The call is the request path's own: the same bytes go out to
the same Triton, and the same arrays come back.
"""

import asyncio
import resource
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import numpy as np
import uvloop
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.aio import InferenceServerClient

from deploy.settings import Settings
from exporters.traffic import TrafficStore
from feature_repo.schema import CONTEXT_WIDTH
from feature_repo.vectors import NO_HISTORY, USER_DEFAULTS
from model_repository.contract import EMBEDDING_WIDTH
from orchestrator.call import Array, Arrays, Call
from orchestrator.release import Release
from orchestrator.triton import SERVICE, TritonClient
from perf.compare.turns import Samples, medians, ratios
from perf.stack import serving

OURS = "http2"
AT_ONCE, CALLS, ROUNDS = 8, 400, 5
TIMEOUT_S = 10.0
Ask = Callable[[], Awaitable[Arrays]]


def measure(settings: Settings, rounds: int = ROUNDS) -> dict[str, object]:
    """Medians by client and how many times less ours takes. Raises PerfError."""
    with serving(settings):
        release = Release.prepare(TrafficStore(settings).require().releases[-1])
        samples = uvloop.run(_turns(release.recommend, release.targets[0], rounds))
    others = {name: ratios(taken, samples[OURS]).rounded() for name, taken in samples.items() if name != OURS}
    return {"ours": OURS, **medians(samples), "speedup": others, "samples": samples, "at_once": AT_ONCE}


async def _turns(call: Call, target: str, rounds: int) -> Samples:
    inputs = _inputs()
    ours, channel, library = TritonClient(target), grpc.aio.insecure_channel(target), InferenceServerClient(target)
    clients: dict[str, Ask] = {
        OURS: lambda: ours.infer(call, inputs, TIMEOUT_S),
        "grpc.aio": _raw(channel, call, inputs),
        "tritonclient.grpc.aio": _library(library, call, inputs),
    }
    samples: Samples = {name: [] for name in clients}
    expected = await clients[OURS]()
    for number in range(rounds + 1):
        for name, ask in clients.items():
            if number == 0:
                _require_same(name, await ask(), expected)
            spent = await _cpu_ms(ask)
            if number:
                samples[name].append(spent)
    await asyncio.gather(ours.close(), channel.close(), library.close())
    return samples


def _inputs() -> tuple[Array, ...]:
    embedding = np.random.default_rng(0).standard_normal(EMBEDDING_WIDTH).astype(np.float32)
    embedding /= np.linalg.norm(embedding)
    return USER_DEFAULTS, NO_HISTORY, embedding, np.zeros(1, np.int32), np.zeros(CONTEXT_WIDTH, np.float32)


def _raw(channel: Any, call: Call, inputs: Sequence[Array]) -> Ask:
    """gRPC's own client, with the same bytes made beforehand."""
    method = channel.unary_unary(
        f"{SERVICE}/ModelInfer", request_serializer=None, response_deserializer=pb.ModelInferResponse.FromString
    )

    async def ask() -> Arrays:
        return call.decode(await method(call.encode(inputs), timeout=TIMEOUT_S))

    return ask


def _library(client: Any, call: Call, inputs: Sequence[Array]) -> Ask:
    """Triton's client library, as its examples use it."""
    outputs = [InferRequestedOutput(tensor.name) for tensor in call.outputs]

    async def ask() -> Arrays:
        tensors = []
        for tensor, array in zip(call.inputs, inputs, strict=True):
            tensors.append(made := InferInput(tensor.name, list(tensor.shape), tensor.dtype))
            made.set_data_from_numpy(array.reshape(tensor.shape))
        result = await client.infer(call.name, tensors, str(call.version), outputs, client_timeout=TIMEOUT_S)
        return {tensor.name: result.as_numpy(tensor.name) for tensor in call.outputs}

    return ask


async def _cpu_ms(ask: Ask) -> float:
    async def caller() -> None:
        for _ in range(CALLS // AT_ONCE):
            await ask()

    before = _cpu_s()
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return 1000 * (_cpu_s() - before) / CALLS


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _require_same(name: str, answer: Arrays, expected: Arrays) -> None:
    if any((answer[key] != array).any() for key, array in expected.items()):
        raise RuntimeError(f"{name} answers something else")
