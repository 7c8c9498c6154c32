"""The record's writer: no change is lost between two writers, and an older or damaged record never wins."""

import threading
from pathlib import Path

import pytest

from deploy.settings import Settings
from exporters.errors import ServerError, TrafficError
from exporters.rollout import canaried, listed, promoted
from exporters.traffic import TrafficStore
from model_repository.traffic import MIRROR, TRAFFIC_KEY, Traffic
from tests.exporters.test_rollout import release

WRITERS = 6


@pytest.fixture
def settings(redis_server: Settings, tmp_path: Path) -> Settings:
    """Release 1 is the champion, 2 is listed."""
    settings = redis_server.model_copy(update={"home": tmp_path})
    settings.workspace.mkdir(parents=True)
    store = TrafficStore(settings)
    store._redis.flushall()
    for number in (1, 2):
        store.change(lambda before, n=number: listed(before, release(n, n)))  # type: ignore[misc]
    return settings


def test_a_change_counts_and_is_mirrored(settings: Settings) -> None:
    store = TrafficStore(settings)
    after = store.change(lambda before: canaried(before, 2, 0.1))  # type: ignore[arg-type]
    assert after.sequence == 3
    assert store.read() == store.mirrored() == after


def test_two_writers_lose_nothing_of_each_other(settings: Settings) -> None:
    """All have read the same record before the first of them writes."""
    together = threading.Barrier(WRITERS)

    def write(number: int) -> None:
        first = threading.Event()

        def step(before: Traffic | None) -> Traffic:
            if not first.is_set():
                first.set()
                together.wait(timeout=10)
            return listed(before, release(number, number))

        TrafficStore(settings).change(step)

    writers = [threading.Thread(target=write, args=(10 + n,)) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    after = TrafficStore(settings).require()
    assert after.listed == {1, 2, *range(10, 10 + WRITERS)}
    assert after.sequence == 2 + WRITERS


def test_what_a_step_refuses_changes_nothing(settings: Settings) -> None:
    store = TrafficStore(settings)
    before = store.require()
    with pytest.raises(TrafficError, match="release 9 is not published"):
        store.change(lambda traffic: promoted(traffic, 9))  # type: ignore[arg-type]
    assert store.require() == store.mirrored() == before


@pytest.mark.parametrize("content", [None, b"{torn", b'{"sequence": 1}'], ids=["lost", "torn", "of another form"])
def test_the_mirror_stands_in_for_a_record_that_cannot_be_read(settings: Settings, content: bytes | None) -> None:
    store = TrafficStore(settings)
    before = store.require()
    store._redis.delete(TRAFFIC_KEY)
    if content is not None:
        store._redis.set(TRAFFIC_KEY, content)
    assert store.read() == before
    after = store.change(lambda traffic: promoted(traffic, 2))  # type: ignore[arg-type]
    assert (after.sequence, after.salt) == (before.sequence + 1, before.salt)


def test_a_redis_from_an_older_backup_is_not_believed(settings: Settings) -> None:
    store = TrafficStore(settings)
    older = store._redis.get(TRAFFIC_KEY)
    after = store.change(lambda before: promoted(before, 2))  # type: ignore[arg-type]
    store._redis.set(TRAFFIC_KEY, older)
    assert store.read() == after


def test_a_torn_mirror_does_not_stand_in_the_way(settings: Settings) -> None:
    store = TrafficStore(settings)
    before = store.require()
    (settings.workspace / MIRROR).write_text("{torn")
    assert store.read() == before


def test_without_redis_nothing_is_written(settings: Settings) -> None:
    before = TrafficStore(settings).mirrored()
    away = TrafficStore(settings.model_copy(update={"redis_port": 1}))
    with pytest.raises(ServerError, match="start it with `make serve`"):
        away.change(lambda traffic: promoted(traffic, 2))  # type: ignore[arg-type]
    assert away.mirrored() == before
