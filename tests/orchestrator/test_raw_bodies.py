"""Whatever bytes come as a body, over a real socket: a documented status, nothing of it repeated, the worker alive."""

import json
import socket
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.docs import ERRORS
from tests.orchestrator.conftest import World, patient
from tests.orchestrator.live import live

DOCUMENTED = {200, *ERRORS} - {503}
MARKER = "poison-marker"
NAMES = st.sampled_from(["user_id", "num_items", "exclude", "country", "timings", "session_depth", MARKER])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(MARKER)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4))
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=6).map(lambda value: json.dumps(value).encode())
TRUNCATED = st.tuples(DOCUMENTS, st.integers(0, 60)).map(lambda pair: pair[0][: pair[1]])
DEEP = st.tuples(st.sampled_from([b"[", b'{"exclude":', b'[{"user_id":']), st.integers(1, 9000)).map(
    lambda pair: b'{"user_id":' + pair[0] * pair[1]
)
BODIES = st.binary(max_size=300) | DOCUMENTS | TRUNCATED | DEEP
EVERYTHING = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with live(World(tmp_path_factory.mktemp("raw"), patient(2.0))) as port:
        yield port


def post(port: int, body: bytes) -> tuple[int, bytes]:
    """Status and body of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10.0) as wire:
        wire.sendall(
            b"POST /v1/recommend HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        received = b"".join(iter(lambda: wire.recv(1 << 16), b""))
    head, _, content = received.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), content


@given(body=BODIES)
@example(body=b'{"user_id":"poison-marker","num_items":1e999}')
@example(body=b'{"user_id":"poison-marker","num_items":' + b"9" * 5000 + b"}")
@example(body=b'{"user_id":"\\ud800poison-marker"}')
@example(body=b'{"user_id":"a","user_id":"poison-marker\xff"}')
@EVERYTHING
def test_any_body_gets_a_documented_status_and_is_not_repeated(port: int, body: bytes):
    status, content = post(port, body)
    assert status in DOCUMENTED
    answer = orjson.loads(content)
    if status != 200:
        assert set(answer) == {"error"}
        assert MARKER.encode() not in content


def test_the_worker_lives(port: int):
    assert post(port, b'{"user_id":"ana"}')[0] == 200
