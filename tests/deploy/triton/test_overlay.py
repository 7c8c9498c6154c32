"""The overlay between a writer and a follower, through a real Redis: nothing is missed, nothing broken is fatal."""

import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import redis

from deploy.triton.backends import overlay
from deploy.triton.backends.line import Line
from deploy.triton.backends.overlay import ATTRIBUTES, STREAM, Changes, Position, Read, read, run, state_key, write
from tests.backends import backend_module
from tests.ports import free_port
from tests.redis_server import redis_server

FAR = -(2**63)


@pytest.fixture(scope="module")
def follower() -> ModuleType:
    return backend_module("follower")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with redis_server() as port:
        yield port


@pytest.fixture
def store(port: int) -> Iterator[redis.Redis]:
    with redis.Redis(port=port, protocol=2) as store:
        store.flushall()
        yield store


Following = Callable[..., tuple[Any, "Shelf"]]


class Shelf:
    """Keeps what it is given, as a generation's shelf does."""

    def __init__(self) -> None:
        self.said: dict[str, dict[int, Any]] = {name: {} for name in ATTRIBUTES}
        self.reads: list[Read] = []

    def take(self, read: Read) -> None:
        self.reads.append(read)
        for name, values in read.changes.items():
            kept = {} if read.complete else self.said[name]
            self.said[name] = {key: value for key, value in (kept | values).items() if value is not None}


def send(store: redis.Redis, **changes: dict[int, Any]) -> int:
    line = Line(f"redis://127.0.0.1:{store.connection_pool.connection_kwargs['port']}/0")
    replies = line.execute(write(changes))
    line.close()
    return int(replies[-1][0])


@pytest.fixture
def following(follower: ModuleType, port: int) -> Iterator[Following]:
    made = []

    def follow(words: list[str] | None = None) -> tuple[Any, Shelf]:
        shelf, said = Shelf(), words if words is not None else []
        made.append(follower.Follower(f"redis://127.0.0.1:{port}/0", shelf.take, said.append, every_s=0.01))
        return made[-1], shelf

    yield follow
    for one in made:
        one._line.close()


def until(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_what_was_written_is_read_field_by_field(following: Following, store: redis.Redis) -> None:
    everything: Changes = {
        "in_stock": {1: False, -5: True, FAR: False},
        "is_safe": {1: True},
        "price": {2: 0.1, 3: 1e12},
        "regions": {3: frozenset({86, 152}), 4: frozenset()},
    }
    assert send(store, **everything) == 1
    one, shelf = following()
    assert one.catch_up()
    assert shelf.said == everything
    assert send(store, in_stock={1: True}, price={2: None, 3: 7.5}) == 2
    assert one.catch_up()
    assert shelf.said["in_stock"] == {1: True, -5: True, FAR: False}
    assert shelf.said["price"] == {3: 7.5}
    other, again = following()
    assert other.catch_up()
    assert again.said == shelf.said
    assert one.position == other.position
    assert [read.complete for read in shelf.reads] == [True, False]


def test_nothing_new_is_one_small_round_trip(following: Following, store: redis.Redis) -> None:
    send(store, in_stock=dict.fromkeys(range(1, 1000), False))
    one, _ = following()
    one.catch_up()
    before = store.info("stats")["total_net_output_bytes"]
    own = store.info("stats")["total_net_output_bytes"] - before
    one.catch_up()
    assert store.info("stats")["total_net_output_bytes"] - before - 2 * own < 500


def test_more_batches_than_one_reply_holds(following: Following, store: redis.Redis) -> None:
    one, shelf = following()
    one.catch_up()
    for key in range(1, 3 * overlay.BATCHES + 1):
        send(store, in_stock={key: False})
    one.catch_up()
    assert len(shelf.said["in_stock"]) == 3 * overlay.BATCHES
    assert not shelf.reads[-1].complete


def test_a_state_of_many_pages(following: Following, store: redis.Redis) -> None:
    send(store, price={key: float(key) for key in range(1, 5001)})
    one, shelf = following()
    one.catch_up()
    assert shelf.said["price"] == {key: float(key) for key in range(1, 5001)}


def test_trimmed_entries_are_noticed(following: Following, store: redis.Redis) -> None:
    send(store, in_stock={1: False}, price={9: 3.0})
    one, shelf = following()
    one.catch_up()
    send(store, in_stock={2: False}, price={9: None})
    send(store, in_stock={3: False})
    store.xtrim(STREAM, maxlen=1, approximate=False)
    one.catch_up()
    assert shelf.reads[-1].complete
    assert set(shelf.said["in_stock"]) == {1, 2, 3}
    assert shelf.said["price"] == {}


def test_the_stream_is_trimmed_behind_the_state(store: redis.Redis) -> None:
    for key in range(1, 2 * overlay.KEPT + 1):
        send(store, in_stock={key: False})
    assert overlay.KEPT <= store.xlen(STREAM) < 1.6 * overlay.KEPT
    assert store.hlen(state_key("in_stock")) == 2 * overlay.KEPT


@pytest.mark.parametrize("written_after", [0, 1, 2, 5])
def test_a_redis_that_lost_its_data_takes_nothing_back(
    following: Following, store: redis.Redis, written_after: int
) -> None:
    for key in (1, 2):
        send(store, in_stock={key: False})
    one, shelf = following()
    one.catch_up()
    store.flushall()
    for key in range(11, 11 + written_after):
        send(store, in_stock={key: False})
    one.catch_up()
    assert set(shelf.said["in_stock"]) == {1, 2, *range(11, 11 + written_after)}
    send(store, in_stock={20: False})
    one.catch_up()
    assert 20 in shelf.said["in_stock"]


def spoil(store: redis.Redis, field: str, value: bytes) -> None:
    with store.pipeline() as batch:
        batch.incr(overlay.SEQUENCE)
        batch.xadd(STREAM, {field: value})
        batch.execute()


BROKEN_ENTRIES = [
    b"", b"\xff", b"[1]", b'{"in_stock": [1]}', b'{"in_stock": {"x": "0"}}', b'{"in_stock": {"1": 0}}', b"1e999",
    b'{"in_stock": {"99999999999999999999": "0"}}', b'{"colour": {"1": "red"}}', b'{"price": {"1": "nan"}}',
    b'{"price": {"1": "-1"}}', b'{"price": {"1": "1e300"}}', b'{"regions": {"1": "DE"}}', b'{"in_stock": {"1": "2"}}',
    b"[" * 50_000, b'{"regions": {"1": "' + b"1," * 5000 + b'1"}}',
]  # fmt: skip


@pytest.mark.parametrize("value", BROKEN_ENTRIES, ids=range(len(BROKEN_ENTRIES)))
def test_a_broken_entry_is_passed_over_and_counted(following: Following, store: redis.Redis, value: bytes) -> None:
    one, shelf = following()
    one.catch_up()
    spoil(store, overlay.ENTRY, value)
    spoil(store, "another", b"field")
    send(store, in_stock={2: False})
    assert one.catch_up()
    assert shelf.said == {name: {2: False} if name == "in_stock" else {} for name in ATTRIBUTES}
    assert shelf.reads[-1].broken == 2


def test_broken_fields_of_the_state_are_passed_over(following: Following, store: redis.Redis) -> None:
    store.hset(state_key("in_stock"), mapping={b"short": b"0", b"8 bytes.": b"no", (7).to_bytes(8, "little"): b"0"})
    one, shelf = following()
    assert one.catch_up()
    assert shelf.said["in_stock"] == {7: False}
    assert shelf.reads[-1].broken == 2


@pytest.mark.parametrize("key", [overlay.SEQUENCE, STREAM, state_key("price")])
def test_keys_of_another_kind_are_an_error_that_passes(following: Following, store: redis.Redis, key: str) -> None:
    words: list[str] = []
    one, shelf = following(words)
    store.lpush(key, "x")
    assert not one.catch_up()
    assert not one.catch_up()
    assert len(words) == 1
    store.delete(key)
    send(store, in_stock={1: False})
    assert one.catch_up()
    assert shelf.said["in_stock"] == {1: False}
    assert words[-1] == "overlay is read again"


def test_redis_away_changes_nothing_and_is_said_once(follower: ModuleType) -> None:
    port, words, shelf = free_port(), [], Shelf()
    with redis_server(port), redis.Redis(port=port, protocol=2) as store:
        one = follower.Follower(f"redis://127.0.0.1:{port}/0", shelf.take, words.append, every_s=0.01)
        send(store, in_stock={1: False})
        one.start()
        until(lambda: shelf.said["in_stock"] == {1: False})
    until(lambda: any("not read" in word for word in words))
    assert shelf.said["in_stock"] == {1: False}
    with redis_server(port), redis.Redis(port=port, protocol=2) as store:
        send(store, in_stock={2: False})
        until(lambda: 2 in shelf.said["in_stock"])
    one.stop()
    assert sum("not read" in word for word in words) <= 2


def test_a_failure_of_the_shelf_is_tried_again(following: Following, store: redis.Redis) -> None:
    one, shelf = following()
    one.catch_up()
    send(store, in_stock={1: False})
    working, one._apply = one._apply, lambda _: 1 / 0
    assert not one.catch_up()
    one._apply = working
    assert one.catch_up()
    assert shelf.said["in_stock"] == {1: False}


def test_the_later_of_two_writers_wins_field_by_field(following: Following, store: redis.Redis) -> None:
    one, shelf = following()
    one.catch_up()
    send(store, in_stock={1: False}, price={1: 5.0})
    send(store, in_stock={1: True})
    one.catch_up()
    other, again = following()
    other.catch_up()
    assert shelf.said["in_stock"] == again.said["in_stock"] == {1: True}
    assert shelf.said["price"] == again.said["price"] == {1: 5.0}


def test_what_is_written_while_the_state_is_read_is_read_after_it() -> None:
    """A state page that already holds a later batch, then that batch: no value goes back in between."""
    steps = read(None, ["in_stock"])
    commands = next(steps)
    assert [command[0] for command in commands] == ["MULTI", "GET", "XREVRANGE", "EXEC"]
    steps.send([b"OK", b"QUEUED", b"QUEUED", [b"4", [[b"7-0", []]]]])
    with pytest.raises(StopIteration) as end:
        steps.send([[b"0", [(1).to_bytes(8, "little"), b"0"]]])
    assert end.value.value.position == Position(4, b"7-0")
    replies = iter([[b"OK", b"QUEUED", b"QUEUED", [b"5", [[STREAM, [[b"8-0", entry(in_stock={1: False})]]]]]]])
    found = run(read(Position(4, b"7-0")), lambda _: next(replies))
    assert found.changes["in_stock"] == {1: False}
    assert found.position == Position(5, b"8-0")


def entry(**changes: Any) -> list[bytes]:
    add = next(command for command in write(changes) if command[0] == "XADD")
    return [str(part).encode() for part in add[-2:]]
