"""The Triton client's bytes, and its errors against a gRPC server of our own."""

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from model_repository import contract
from orchestrator.call import Call, fits
from orchestrator.errors import BadAnswerError, LateError, UnavailableError, UnknownModelError
from orchestrator.fakes import fake_outputs
from orchestrator.frames import varint
from orchestrator.ladder import unpack
from orchestrator.release import CANDIDATE_OUTPUTS, RECOMMEND_OUTPUTS
from orchestrator.triton import TritonClient, stage_error
from tests.ports import free_port

RECOMMEND = Call(contract.RECOMMEND, ("recommend_7", 1), RECOMMEND_OUTPUTS)
CANDIDATES = Call(contract.CANDIDATE_SEARCH, ("candidates", 7), CANDIDATE_OUTPUTS)
SLOW = Call(contract.CANDIDATE_SEARCH, ("slow", 7), CANDIDATE_OUTPUTS)
SLOW_S = 0.5
TOWER = Call(contract.USER_TOWER, ("user_tower", 3), contract.USER_TOWER.outputs)


def inputs_of(call: Call) -> list[np.ndarray]:
    dtypes = {"FP32": np.float32, "INT32": np.int32, "INT64": np.int64}
    return [np.arange(np.prod(t.shape)).astype(dtypes[t.dtype]) for t in call.inputs]


def response_of(call: Call) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(model_name=call.name)
    for tensor, array in zip(call.outputs, fake_outputs(call).values(), strict=True):
        response.outputs.add(name=tensor.name, datatype=tensor.dtype, shape=array.shape)
        response.raw_output_contents.append(array.tobytes())
    return response


@pytest.mark.parametrize("call", [RECOMMEND, CANDIDATES, TOWER], ids=lambda call: call.slot)
def test_joined_bytes_are_the_message_protobuf_would_write(call: Call):
    arrays = inputs_of(call)
    message = pb.ModelInferRequest.FromString(call.encode(arrays))
    assert (message.model_name, message.model_version) == (call.name, str(call.version))
    assert [(i.name, i.datatype, tuple(i.shape)) for i in message.inputs] == [
        (t.name, t.dtype, t.shape) for t in call.inputs
    ]
    assert list(message.raw_input_contents) == [array.tobytes() for array in arrays]
    assert [o.name for o in message.outputs] == [t.name for t in call.outputs]


def test_a_batched_model_gets_a_batch_of_one():
    assert TOWER.inputs[0].shape == (1, *contract.USER_FEATURES.shape)
    assert RECOMMEND.inputs[0].shape == (1, *contract.USER_FEATURES.shape)


@pytest.mark.parametrize("wrong", [np.zeros(3, np.float32), np.zeros(contract.USER_FEATURES.shape, np.float64)])
def test_an_array_that_does_not_fit_is_never_sent(wrong: np.ndarray):
    with pytest.raises(ValueError, match="user_tower"):
        TOWER.encode([wrong])


@pytest.mark.parametrize("call", [RECOMMEND, CANDIDATES], ids=lambda call: call.slot)
def test_decoding_gives_back_what_was_answered(call: Call):
    arrays = call.decode(response_of(call))
    for name, expected in fake_outputs(call).items():
        np.testing.assert_array_equal(arrays[name], expected)


def test_padding_is_dropped_and_ids_are_fixed_width_bytes():
    found = unpack(fake_outputs(RECOMMEND, items=3))
    assert found.ids.tolist() == [b"item0000", b"item0001", b"item0002"]
    assert len(found.keys) == len(found.rules) == len(found.objectives) == 3
    assert len(unpack(fake_outputs(CANDIDATES, items=0)).keys) == 0


@pytest.mark.parametrize("count", [-1, contract.CANDIDATES + 1])
def test_an_impossible_count_is_a_bad_answer(count: int):
    with pytest.raises(BadAnswerError, match="count"):
        unpack(fake_outputs(RECOMMEND, items=count))


def test_answers_outside_the_contract_are_refused():
    empty = response_of(RECOMMEND)
    empty.raw_output_contents[0] = b""
    missing = response_of(RECOMMEND)
    del missing.outputs[0], missing.raw_output_contents[0]
    dtype = response_of(RECOMMEND)
    dtype.outputs[0].datatype = "FP64"
    shape = response_of(RECOMMEND)
    shape.outputs[0].shape[1] = 499
    lonely = response_of(RECOMMEND)
    del lonely.raw_output_contents[0]
    for response in (empty, missing, dtype, shape, lonely):
        with pytest.raises(BadAnswerError, match="recommend_7"):
            RECOMMEND.decode(response)


def test_shapes_fit_with_a_free_dimension():
    assert fits((1, 500, 8), (1, 500, -1))
    assert not fits((1, 500, 0), (1, 500, -1))
    assert not fits((500, 8), (1, 500, -1))


@pytest.mark.parametrize(
    ("value", "encoded"), [(1, b"\x01"), (127, b"\x7f"), (300, b"\xac\x02"), (2**21, b"\x80\x80\x80\x01")]
)
def test_varint(value: int, encoded: bytes):
    assert varint(value) == encoded


@pytest.mark.parametrize(
    ("status", "details", "kind"),
    [
        ("DEADLINE_EXCEEDED", "", LateError),
        ("NOT_FOUND", "Request for unknown model: 'x' is not found", UnknownModelError),
        ("UNAVAILABLE", "Request for unknown model: 'x' has no available versions", UnknownModelError),
        ("UNAVAILABLE", "failed to connect", UnavailableError),
        ("INVALID_ARGUMENT", "unexpected shape", BadAnswerError),
        ("INTERNAL", "stub is dead", BadAnswerError),
    ],
)
def test_what_a_failed_call_means(status: str, details: str, kind: type[Exception]):
    number, _ = grpc.StatusCode[status].value
    assert type(stage_error(number, details)) is kind


class Servicer(grpc.GenericRpcHandler):
    """ModelInfer answers, for model `slow` after a while, or fails with NOT_FOUND for model `gone`; ModelReady knows
    version 7 only."""

    def __init__(self) -> None:
        self.begun = self.finished = self.cancelled = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method.endswith("/ModelInfer"):
            return grpc.unary_unary_rpc_method_handler(
                self.infer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString
            )
        return grpc.unary_unary_rpc_method_handler(
            self.ready, pb.ModelReadyRequest.FromString, pb.ModelReadyResponse.SerializeToString
        )

    async def infer(self, request: pb.ModelInferRequest, context: grpc.aio.ServicerContext) -> pb.ModelInferResponse:
        if request.model_name == "gone":
            await context.abort("NOT_FOUND", "Request for unknown model")
        if request.model_name == "slow":
            await self.dawdle()
        return response_of(CANDIDATES)

    async def dawdle(self) -> None:
        self.begun += 1
        try:
            await asyncio.sleep(SLOW_S)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.finished += 1

    async def ready(self, request: pb.ModelReadyRequest, context: grpc.aio.ServicerContext) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=request.version == "7")


@pytest.fixture
def servicer() -> Servicer:
    return Servicer()


@pytest.fixture
async def server(servicer: Servicer) -> AsyncIterator[str]:
    target = f"127.0.0.1:{free_port()}"
    running = grpc.aio.server(handlers=[servicer])
    running.add_insecure_port(target)
    await running.start()
    yield target
    await running.stop(None)


@pytest.mark.anyio
async def test_a_call_over_the_wire(server: str):
    client = TritonClient(server)
    arrays = await client.infer(CANDIDATES, inputs_of(CANDIDATES), 2.0)
    np.testing.assert_array_equal(arrays["item_key"], fake_outputs(CANDIDATES)["item_key"])
    assert await client.ready(("candidates", 7), 2.0)
    assert not await client.ready(("candidates", 8), 2.0)
    gone = Call(contract.CANDIDATE_SEARCH, ("gone", 7), CANDIDATE_OUTPUTS)
    with pytest.raises(UnknownModelError):
        await client.infer(gone, inputs_of(gone), 2.0)
    await client.close()


@pytest.mark.anyio
async def test_nobody_there_is_unavailable():
    client = TritonClient(f"127.0.0.1:{free_port()}")
    with pytest.raises(UnavailableError):
        await client.infer(TOWER, inputs_of(TOWER), 2.0)
    assert not await client.ready(("candidates", 7), 0.5)
    await client.close()


@pytest.mark.anyio
@pytest.mark.parametrize("target", ["", "nowhere", ":8001", "127.0.0.1:", "127.0.0.1:http", "no.such.host.invalid:1"])
async def test_a_target_that_leads_nowhere_is_unavailable(target: str):
    client = TritonClient(target)
    with pytest.raises((UnavailableError, LateError)):
        await client.infer(TOWER, inputs_of(TOWER), 2.0)
    await client.close()


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.mark.anyio
@pytest.mark.parametrize("cancels", [False, True])
async def test_a_late_call_is_taken_back_only_from_a_server_that_survives_it(
    server: str, servicer: Servicer, cancels: bool
):
    client = TritonClient(server, cancels=cancels)
    with pytest.raises(LateError):
        await client.infer(SLOW, inputs_of(SLOW), 0.1)
    await until(lambda: servicer.cancelled + servicer.finished == 1)
    assert (servicer.cancelled, servicer.finished) == ((1, 0) if cancels else (0, 1))
    await until(lambda: not client.left)
    await client.close()


@pytest.mark.anyio
async def test_who_hangs_up_does_not_cancel_the_call(server: str, servicer: Servicer):
    client = TritonClient(server)
    asking = asyncio.create_task(client.infer(SLOW, inputs_of(SLOW), 2.0))
    await until(lambda: servicer.begun == 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await client.close()
    assert (servicer.cancelled, servicer.finished) == (0, 1)


@pytest.mark.anyio
async def test_calls_that_nobody_waits_for_are_bounded(server: str):
    client = TritonClient(server, most_left=2)
    for _ in range(2):
        with pytest.raises(LateError):
            await client.infer(SLOW, inputs_of(SLOW), 0.05)
    with pytest.raises(UnavailableError, match="2 late calls"):
        await client.infer(CANDIDATES, inputs_of(CANDIDATES), 1.0)
    await until(lambda: not client.left)
    await client.infer(CANDIDATES, inputs_of(CANDIDATES), 1.0)
    await client.close()


@pytest.mark.anyio
async def test_a_late_call_that_fails_bothers_nobody(server: str, caplog: pytest.LogCaptureFixture):
    client = TritonClient(f"127.0.0.1:{free_port()}")
    with pytest.raises((LateError, UnavailableError)):
        await client.infer(TOWER, inputs_of(TOWER), 0.001)
    await until(lambda: not client.left)
    assert "never retrieved" not in caplog.text
    await client.close()
