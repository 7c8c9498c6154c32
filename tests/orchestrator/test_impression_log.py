"""The impression log while Redis and the disk misbehave: bounded, every drop counted by its reason, nothing torn."""

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from prometheus_client import Counter

from feature_repo.served import IMPRESSIONS
from orchestrator.errors import BadAnswerError, UnavailableError
from orchestrator.fakes import FakeStore
from orchestrator.impression_log import ImpressionLog
from orchestrator.metrics import DROPPED, REPLAYED, SPILLED
from orchestrator.policy import LogPolicy
from orchestrator.spill import FullError, Spill
from tests.orchestrator.conftest import KNOWN_USER, World

pytestmark = pytest.mark.anyio
KIND = "impression"


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log" / "impressions.jsonl"


def counting(metric: Counter, *labels: str) -> Callable[[], float]:
    """How much the counter has grown since."""
    before = metric.labels(*labels)._value.get()
    return lambda: metric.labels(*labels)._value.get() - before


def numbers(store: FakeStore) -> list[int]:
    return [orjson.loads(line)["n"] for line in store.logged(IMPRESSIONS)]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


async def test_entries_are_numbered_in_one_instance(store: FakeStore):
    log = ImpressionLog(store)
    for n in range(3):
        log.add({"n": n})
    await log.flush()
    entries = [orjson.loads(line) for line in store.logged(IMPRESSIONS)]
    assert [entry["seq"] for entry in entries] == [1, 2, 3]
    assert len({entry["instance"] for entry in entries}) == 1
    assert {entry["instance"] for entry in entries} != {ImpressionLog(store)._instance}


async def test_a_full_queue_drops_counts_and_leaves_no_gap(store: FakeStore):
    dropped = counting(DROPPED, KIND, "queue_full")
    log = ImpressionLog(store, policy=LogPolicy(queue=3))
    for n in range(5):
        log.add({"n": n})
    assert dropped() == 2
    await log.flush()
    log.add({"n": 9})
    await log.flush()
    assert [orjson.loads(line)["seq"] for line in store.logged(IMPRESSIONS)] == [1, 2, 3, 4]


@pytest.mark.parametrize("failure", [UnavailableError("redis"), BadAnswerError("OOM command not allowed")])
async def test_what_redis_does_not_take_waits_in_the_file_and_comes_back(
    store: FakeStore, file: Path, failure: UnavailableError | BadAnswerError
):
    spilled, back = counting(SPILLED, KIND), counting(REPLAYED, KIND)
    log = ImpressionLog(store, file, LogPolicy(retry_s=0.01))
    store.failure = failure
    await log.start()
    for n in range(5):
        log.add({"n": n})
    await until(lambda: spilled() == 5)
    assert sum(len(part.read_bytes().splitlines()) for part in file.parent.iterdir()) == 5
    store.failure = None
    await until(lambda: back() == 5)
    assert numbers(store) == [0, 1, 2, 3, 4]
    await log.close()
    assert list(file.parent.iterdir()) == []


async def test_what_an_earlier_process_left_comes_back(store: FakeStore, file: Path):
    store.failure = UnavailableError("redis")
    first = ImpressionLog(store, file)
    first.add({"n": 1})
    await first.close()
    store.failure = None
    second = ImpressionLog(store, file)
    await second.start()
    await until(lambda: numbers(store) == [1])
    await second.close()


async def test_without_a_file_drops_are_counted(store: FakeStore):
    dropped = counting(DROPPED, KIND, "redis")
    store.failure = UnavailableError("redis")
    log = ImpressionLog(store)
    log.add({"n": 1})
    await log.flush()
    assert dropped() == 1


async def test_a_disk_that_refuses_is_counted(store: FakeStore, file: Path):
    dropped = counting(DROPPED, KIND, "disk")
    store.failure = UnavailableError("redis")
    file.mkdir(parents=True)
    log = ImpressionLog(store, file)
    for n in range(3):
        log.add({"n": n})
    await log.flush()
    assert dropped() == 3
    file.rmdir()
    store.failure = None
    log.add({"n": 9})
    await log.flush()
    assert numbers(store) == [9]


async def test_the_file_is_bounded(store: FakeStore, file: Path):
    dropped, spilled = counting(DROPPED, KIND, "spill_full"), counting(SPILLED, KIND)
    store.failure = UnavailableError("redis")
    log = ImpressionLog(store, file, LogPolicy(spill_bytes=1000))
    for n in range(100):
        log.add({"n": n})
        await log.flush()
    assert file.stat().st_size <= 1000
    assert (dropped() + spilled(), dropped() > 0, spilled() > 0) == (100, True, True)


async def test_answers_do_not_wait_for_a_slow_disk(world: World):
    """Redis takes no log and the disk hangs: every answer is whole, and the queue stays bounded."""
    service = world.service()
    await service.start()
    plain, hanging = service.log._ship, asyncio.Event()

    async def ship(lines: list[bytes]) -> bool:
        del lines
        return False

    async def keep(lines: list[bytes]) -> None:
        del lines
        await hanging.wait()

    service.log._ship, service.log._keep = ship, keep  # type: ignore[method-assign]
    async with world.client(service) as http:
        for _ in range(5):
            answer = await http.get("/recommend", params={"user_id": KNOWN_USER})
            assert (answer.status_code, answer.json()["degraded"]) == (200, None)
            await asyncio.sleep(0.06)
    hanging.set()
    service.log._ship = plain  # type: ignore[method-assign]
    await service.stop()


async def test_stopping_flushes_what_is_queued(world: World):
    service = world.service()
    await service.start()
    async with world.client(service) as http:
        for _ in range(3):
            await http.get("/recommend", params={"user_id": KNOWN_USER})
    service.log.add({"last": True})
    await service.stop()
    assert len(world.store.logged(IMPRESSIONS)) == 4


async def test_stopping_waits_for_the_batch_that_is_on_its_way(store: FakeStore):
    log = ImpressionLog(store)
    await log.start()
    log.add({"n": 1})
    store.delay_s = 0.2
    await until(lambda: not log._queue)  # taken from the queue, not yet in Redis
    await log.close()
    assert numbers(store) == [1]


async def test_an_entry_that_is_no_json_ends_nothing(store: FakeStore):
    dropped = counting(DROPPED, KIND, "not_json")
    log = ImpressionLog(store)
    await log.start()
    log.add({"n": object()})
    log.add({"n": 1})
    await until(lambda: numbers(store) == [1])
    await log.close()
    assert dropped() == 1


def lines(*numbers: int) -> list[bytes]:
    return [orjson.dumps({"n": n}) for n in numbers]


def test_a_torn_line_is_skipped_and_counted(file: Path):
    spill = Spill(file, 10_000)
    spill.append(lines(1, 2))
    with file.open("ab") as stream:
        stream.write(b'{"n": 3')  # the process died here
    Spill(file, 10_000).append(lines(4))
    assert spill.peek(10) == (lines(1, 2, 4), 1)


def test_a_torn_last_line_alone_goes_away(file: Path):
    file.parent.mkdir()
    file.write_bytes(b'{"n": 3')
    spill = Spill(file, 10_000)
    assert spill.peek(10) == ([], 1)
    spill.forget()
    assert not spill.waiting


def test_it_comes_back_in_parts_oldest_first_whatever_is_added_meanwhile(file: Path):
    spill = Spill(file, 10_000)
    spill.append(lines(1, 2, 3))
    assert spill.peek(2) == (lines(1, 2), 0)
    assert spill.peek(2) == (lines(1, 2), 0)  # not forgotten: not safe yet
    spill.forget()
    spill.append(lines(4))
    assert spill.peek(2) == (lines(3), 0)
    spill.forget()
    assert spill.peek(2) == (lines(4), 0)
    spill.forget()
    assert not spill.waiting
    assert spill.peek(2) == ([], 0)


def test_a_process_that_died_half_way_leaves_everything(file: Path):
    first = Spill(file, 10_000)
    first.append(lines(1, 2, 3))
    first.peek(2)
    first.forget()
    assert Spill(file, 10_000).peek(10) == (lines(1, 2, 3), 0)


def test_a_write_that_fails_leaves_no_part_of_it(file: Path, tmp_path: Path):
    with pytest.raises(FullError):
        Spill(file, 20).append(lines(*range(10)))
    assert not file.exists()
    spill = Spill(file, 10_000)
    spill.append(lines(1))
    full = Path("/dev/full")
    if full.exists():
        linked = tmp_path / "full"
        linked.symlink_to(full)
        with pytest.raises(OSError, match="No space left") as refused:
            Spill(linked, 10_000).append(lines(1))
        assert refused.value.errno == errno.ENOSPC
    assert spill.peek(9) == (lines(1), 0)
