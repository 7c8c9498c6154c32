"""The collector on a real Redis: nothing lost, nothing doubled, whatever is killed or broken between."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import redis

from deploy.settings import ROOT, Settings, child_environment
from feature_repo.served import EVENTS, IMPRESSIONS
from feature_repo.store import connect
from tests.ports import isolated_settings
from tests.redis_server import redis_server
from tests.training.served_log import Process, event, impression, moment
from training.adapters.canonical import SCHEMAS
from training.errors import DataError
from training.served import parts, progress
from training.served.collect import Collector, told
from training.served.command import PATIENCE_S, Stop, collect, persist
from training.served.errors import CollectError

NOON = moment("2026-03-01T12:00:00")
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with redis_server() as running:
        yield running


@pytest.fixture
def settings(port: int, tmp_path: Path) -> Settings:
    return isolated_settings(tmp_path, redis_port=port)


@pytest.fixture
def client(settings: Settings) -> Iterator[Any]:
    with connect(settings) as connected:
        connected.flushall()
        yield connected


@pytest.fixture
def serving(client: Any) -> Process:
    return Process(client)


@pytest.fixture
def folder(settings: Settings) -> Path:
    return settings.served


class Failing:
    """A Redis client one command of which fails, as when the connection breaks there."""

    def __init__(self, client: Any, command: str, answered: bool) -> None:
        self._client, self._command, self._answered = client, command, answered

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name != self._command:
            return found

        def fail(*args: Any, **options: Any) -> None:
            if self._answered:
                found(*args, **options)
            raise redis.ConnectionError(name)

        return fail


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    found = []
    for place in parts.days(folder, table).values():
        for path in parts.files(place):
            content = parts.read(path)
            assert all(row["timestamp"].date().isoformat() in str(path) for row in content.to_pylist())
            found += content.to_pylist()
    return found


def names(folder: Path, table: str, column: str) -> list[str]:
    return sorted(row[column] for row in rows(folder, table))


def drained(client: Any, folder: Path, **options: int) -> Collector:
    collector = Collector(client, folder, **options)
    collector.drain()
    return collector


@contextmanager
def uncommittable(folder: Path) -> Iterator[None]:
    """Progress cannot be written: the file's place is taken."""
    file, aside = folder / progress.FILE, folder / "aside"
    file.rename(aside)
    file.mkdir()
    yield
    file.rmdir()
    aside.rename(file)


def test_an_answer_is_a_row_for_each_item_in_the_canonical_columns(serving: Process, client: Any, folder: Path) -> None:
    serving.shows("r1", "u1", ["i9", "i3"], NOON)
    serving.acts("e1", "u1", "i3", "click", NOON + SECOND, request_id="r1", price=9.5, quantity=2, session_id="s")
    drained(client, folder)
    assert rows(folder, "impressions") == [
        dict.fromkeys(SCHEMAS["impressions"].names) | {
            "request_id": "r1", "user_id": "u1", "item_id": item, "position": position, "timestamp": NOON,
            "release": "1", "variant": "champion", "placement": "home", "device": "mobile", "country": "DE",
            "scores": [score],
        } for item, position, score in (("i9", 1, 1.0), ("i3", 2, 0.5))
    ]  # fmt: skip
    assert rows(folder, "events") == [
        dict.fromkeys(SCHEMAS["events"].names) | {
            "user_id": "u1", "item_id": "i3", "event_type": "click", "timestamp": NOON + SECOND, "session_id": "s",
            "request_id": "r1", "device": "mobile", "price": 9.5, "quantity": 2, "event_id": "e1",
            "received_at": NOON + SECOND,
        }
    ]  # fmt: skip
    path = next(iter(parts.files(parts.days(folder, "events")[NOON.date()])))
    assert pq.read_schema(path).names[:-1] == SCHEMAS["events"].names


def test_an_answer_that_shows_nothing_is_no_row_and_no_gap(serving: Process, client: Any, folder: Path) -> None:
    serving.shows("r1", "u1", [], NOON)
    serving.shows("r2", "u1", ["i"], NOON)
    assert drained(client, folder).progress.stream(IMPRESSIONS).lost == 0
    assert names(folder, "impressions", "request_id") == ["r2"]


def test_days_are_those_of_the_moments_not_of_the_arrival(serving: Process, client: Any, folder: Path) -> None:
    late = moment("2026-03-02T00:30:00")
    serving.write(EVENTS, event("late", "u", "i", "view", moment("2026-03-01T23:59:59")), late)
    serving.acts("next", "u", "i", "view", late)
    drained(client, folder)
    assert [str(day) for day in parts.days(folder, "events")] == ["2026-03-01", "2026-03-02"]
    assert names(folder, "events", "event_id") == ["late", "next"]


def test_the_streams_are_trimmed_behind_what_every_group_has_acknowledged(
    serving: Process, client: Any, folder: Path
) -> None:
    client.xgroup_create(EVENTS, "slow", id="0", mkstream=True)
    for n in range(5):
        serving.acts(f"e{n}", "u", "i", "view", NOON + n * SECOND)
        serving.shows(f"r{n}", "u", ["i"], NOON + n * SECOND)
    client.xreadgroup("slow", "c", {EVENTS: ">"}, count=3)
    drained(client, folder)
    assert (client.xlen(EVENTS), client.xlen(IMPRESSIONS)) == (5, 0)
    held = client.xpending_range(EVENTS, "slow", "-", "+", 10)
    client.xack(EVENTS, "slow", *[entry["message_id"] for entry in held])
    drained(client, folder)
    assert client.xlen(EVENTS) == 2  # that the slow group has not read
    assert len(rows(folder, "events")) == 5


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("command", ["xack", "xtrim", "xreadgroup"])
def test_a_connection_that_breaks_loses_and_doubles_nothing(
    serving: Process, client: Any, folder: Path, command: str, answered: bool
) -> None:
    for n in range(7):
        serving.acts(f"e{n}", "u", "i", "view", NOON + n * SECOND)
    with pytest.raises(redis.ConnectionError):
        drained(Failing(client, command, answered), folder, batch=3)
    drained(client, folder, batch=2)
    assert names(folder, "events", "event_id") == [f"e{n}" for n in range(7)]
    assert client.xpending(EVENTS, "training")["pending"] == client.xlen(EVENTS) == 0


@pytest.mark.parametrize("stream", [IMPRESSIONS, EVENTS])
def test_a_run_killed_before_its_batch_was_committed_reads_it_again(
    serving: Process, client: Any, folder: Path, stream: str
) -> None:
    table, column = ("impressions", "request_id") if stream == IMPRESSIONS else ("events", "event_id")
    for n in range(4):
        at = NOON + n * SECOND
        entry = impression(f"{n}", "u", ["i"], at) if stream == IMPRESSIONS else event(f"{n}", "u", "i", "view", at)
        serving.write(stream, entry, at)
    collector = Collector(client, folder, batch=4)
    with uncommittable(folder), pytest.raises(OSError, match="directory"):
        collector.drain()
    assert len(rows(folder, table)) == 4  # written, not committed
    counts = drained(client, folder, batch=3).progress.stream(stream)
    assert names(folder, table, column) == ["0", "1", "2", "3"]
    assert (counts.entries, counts.repeated) == (4, 0)


def test_a_committed_batch_that_was_not_acknowledged_is_not_written_again(
    serving: Process, client: Any, folder: Path
) -> None:
    for n in range(4):
        serving.shows(f"r{n}", "u", ["i"], NOON + n * SECOND)
    with pytest.raises(redis.ConnectionError):
        drained(Failing(client, "xack", answered=False), folder)
    assert client.xpending(IMPRESSIONS, "training")["pending"] == 4
    counts = drained(client, folder, batch=3).progress.stream(IMPRESSIONS)
    assert names(folder, "impressions", "request_id") == [f"r{n}" for n in range(4)]
    assert (counts.entries, counts.repeated) == (4, 0)


def test_a_full_disk_is_tried_again_by_the_same_process(serving: Process, client: Any, folder: Path) -> None:
    serving.acts("e0", "u", "i", "view", NOON)
    collector = Collector(client, folder)
    with uncommittable(folder), pytest.raises(OSError, match="directory"):
        collector.drain()
    serving.acts("e1", "u", "i", "view", NOON)
    collector.drain()
    assert names(folder, "events", "event_id") == ["e0", "e1"]


def test_gaps_are_counted_late_numbers_fill_them_and_repeats_are_dropped(
    serving: Process, client: Any, folder: Path
) -> None:
    other = Process(client, "b")
    serving.shows("r1", "u", ["i"], NOON)
    serving.numbers[IMPRESSIONS] = 4  # 2, 3 and 4 never arrived
    serving.shows("r5", "u", ["i"], NOON)
    other.write(IMPRESSIONS, impression("b1", "u", ["i"], NOON), NOON, times=2)  # the answer to the first was lost
    counts = drained(client, folder).progress.stream(IMPRESSIONS)
    assert (counts.lost, counts.repeated) == (3, 1)
    serving.numbers[IMPRESSIONS] = 2
    serving.shows("r3", "u", ["i"], NOON)  # after all
    counts = drained(client, folder).progress.stream(IMPRESSIONS)
    assert (counts.lost, counts.repeated) == (2, 1)
    assert names(folder, "impressions", "request_id") == ["b1", "r1", "r3", "r5"]


def test_a_long_gap_is_filled_whenever_its_numbers_come(serving: Process, client: Any, folder: Path) -> None:
    """What waited in a file while Redis was away comes after what was newer."""
    serving.acts("e1", "u", "i", "view", NOON)
    serving.numbers[EVENTS] = 5_000
    serving.acts("e5001", "u", "i", "view", NOON)
    assert drained(client, folder).progress.stream(EVENTS).lost == 4_999
    serving.numbers[EVENTS] = 1
    for n in range(2, 5_001):
        serving.acts(f"e{n}", "u", "i", "view", NOON)
    serving.numbers[EVENTS] = 2_000
    serving.acts("again", "u", "i", "view", NOON)
    counts = drained(client, folder).progress.stream(EVENTS)
    assert (counts.lost, counts.repeated, counts.instances["a"].gaps) == (0, 1, [])
    assert len(rows(folder, "events")) == 5_001


def test_gaps_that_are_forgotten_lose_nothing() -> None:
    stream = progress.Stream()
    for n in range(1, 2 * progress.MOST_GAPS + 5, 2):
        assert stream.fresh("a", n)
    assert stream.fresh("a", 2)  # its gap is no longer known
    assert stream.fresh("a", 2 * progress.MOST_GAPS)
    assert not stream.fresh("a", 2 * progress.MOST_GAPS)


BROKEN = {
    b'{"at": 1': "torn",
    b"\xff\xfe": "torn",
    b"": "torn",
    b"[1, 2]": "torn",
    orjson.dumps(event("e", "u", "i", "explode", NOON) | {"instance": "z", "seq": 1}): "bad_event_type",
    orjson.dumps(event("e", "u", "i", "view", NOON) | {"instance": "z", "seq": 2, "at": "noon"}): "bad_at",
    orjson.dumps(event("e", "u", "i", "view", NOON) | {"instance": "z", "seq": 3, "quantity": 2**40}): "bad_quantity",
    orjson.dumps(event("e", "", "i", "view", NOON) | {"instance": "z", "seq": 4}): "bad_user_id",
    orjson.dumps(event("e", "u", "i", "view", NOON) | {"instance": "z", "seq": 0}): "bad_seq",
    orjson.dumps(event("e", "u", "i", "view", NOON + 3 * 3600 * SECOND) | {"instance": "z", "seq": 5}): "future",
    orjson.dumps(event("e", "u", "i", "view", moment("1999-01-01")) | {"instance": "z", "seq": 6}): "too_old",
}


def test_broken_entries_are_set_aside_with_their_reason_and_the_rest_goes_on(
    serving: Process, client: Any, folder: Path
) -> None:
    serving.acts("before", "u", "i", "view", NOON)
    for content in BROKEN:
        serving.raw(EVENTS, content, NOON)
    serving.raw(EVENTS, b"{}", NOON, name=b"other")
    serving.acts("after", "u\u202e|\n", "i,\u0130", "view", NOON)
    counts = drained(client, folder).progress.stream(EVENTS)
    assert counts.refused == Counter([*BROKEN.values(), "torn"])
    assert counts.lost == 0  # those that could still be told apart are not missing as well
    assert names(folder, "events", "event_id") == ["after", "before"]
    aside = [orjson.loads(line) for path in (folder / "quarantine/events").iterdir()
             for line in path.read_bytes().splitlines()]  # fmt: skip
    assert Counter(entry["reason"] for entry in aside) == Counter(counts.refused)


def test_an_impression_with_broken_inputs_is_kept_without_them(serving: Process, client: Any, folder: Path) -> None:
    wrong: list[Any] = [
        {"user": "?"}, "text", {"user": "AA==", "history": "", "context": "", "schema": "s", "scores": [[1.0]]},
        {"user": "not base64!", "history": "", "context": "", "schema": "s", "scores": None},
    ]  # fmt: skip
    for n, broken in enumerate(wrong):
        serving.shows(f"r{n}", "u", ["i"], NOON, inputs=broken)
    counts = drained(client, folder).progress.stream(IMPRESSIONS)
    assert (counts.refused, counts.lost, counts.repeated) == ({"bad_inputs": 4}, 0, 0)
    assert len(rows(folder, "impressions")) == 4
    assert rows(folder, "inputs") == []


def test_an_event_that_is_sent_again_is_one(serving: Process, client: Any, folder: Path) -> None:
    serving.acts("e1", "u", "i", "click", NOON)
    serving.acts("e1", "u", "i", "click", NOON)
    collector = drained(client, folder)
    serving.acts("e1", "u", "i", "click", NOON)
    collector.drain()
    serving.acts("e1", "u", "i", "click", NOON)  # and after a restart
    serving.acts("e1", "v", "i", "click", NOON)  # ids are a user's own
    counts = drained(client, folder).progress.stream(EVENTS)
    assert names(folder, "events", "user_id") == ["u", "v"]
    assert (counts.repeated, counts.lost) == (3, 0)


def test_a_day_that_is_over_becomes_one_file(serving: Process, client: Any, folder: Path) -> None:
    collector = Collector(client, folder, batch=2)
    for n in range(6):
        serving.acts(f"e{n}", "u", "i", "view", NOON + n * SECOND)
    collector.drain()
    assert collector.compact() == 0  # not over
    serving.acts("next", "u", "i", "view", NOON + timedelta(days=1))
    collector.drain()
    before = rows(folder, "events")
    assert collector.compact() == 1
    assert rows(folder, "events") == before
    assert [len(parts.files(day)) for day in parts.days(folder, "events").values()] == [1, 1]
    serving.write(EVENTS, event("late", "u", "i", "view", NOON), NOON + timedelta(days=1))
    drained(client, folder).compact(everything=True)
    assert names(folder, "events", "event_id") == sorted([row["event_id"] for row in before] + ["late"])
    assert [len(parts.files(day)) for day in parts.days(folder, "events").values()] == [1, 1]


def test_what_a_kill_while_compacting_leaves_is_put_right(serving: Process, client: Any, folder: Path) -> None:
    serving.acts("e0", "u", "i", "view", NOON)
    drained(client, folder)
    day = parts.days(folder, "events")[NOON.date()]
    day.rename(day.with_name(day.name + ".previous"))  # between the two renames
    (day.with_name(day.name + ".partial")).mkdir()
    drained(client, folder)
    assert names(folder, "events", "event_id") == ["e0"]
    assert [path.name for path in (folder / "events").iterdir()] == [day.name]


def test_an_emptied_redis_starts_anew_though_its_clock_went_back(serving: Process, client: Any, folder: Path) -> None:
    for n in range(3):
        serving.acts(f"e{n}", "u", "i", "view", NOON + 10 * n * SECOND)
    collector = drained(client, folder)
    client.flushall()
    for n, back in enumerate((-SECOND, SECOND, 11 * SECOND)):  # before, and among, the ids collected last
        serving.acts(f"new{n}", "u", "i", "view", NOON + back)
    collector.drain()
    assert names(folder, "events", "event_id") == ["e0", "e1", "e2", "new0", "new1", "new2"]


def test_told_to_stop_it_ends_between_batches_and_goes_on_later(serving: Process, client: Any, folder: Path) -> None:
    for n in range(5):
        serving.acts(f"e{n}", "u", "i", "view", NOON + n * SECOND)
    collector = Collector(client, folder, batch=2)
    collector.drain(lambda: collector.progress.batch > 0)
    assert names(folder, "events", "event_id") == ["e0", "e1"]
    collector.drain()
    assert names(folder, "events", "event_id") == [f"e{n}" for n in range(5)]


def test_entries_cut_away_before_they_were_read_are_lost_and_counted(
    serving: Process, client: Any, folder: Path
) -> None:
    for n in range(3):
        serving.acts(f"e{n}", "u", "i", "view", NOON + n * SECOND)
    client.xgroup_create(EVENTS, "training", id="0")
    client.xreadgroup("training", "collector", {EVENTS: ">"}, count=2)  # in hand when the run was killed
    client.xtrim(EVENTS, maxlen=1, approximate=False)
    counts = drained(client, folder).progress.stream(EVENTS)
    assert names(folder, "events", "event_id") == ["e2"]
    assert (counts.lost, counts.refused) == (2, {"trimmed": 2})


def test_a_lost_progress_beside_files_is_refused(serving: Process, client: Any, folder: Path) -> None:
    serving.acts("e1", "u", "i", "view", NOON)
    drained(client, folder)
    (folder / progress.FILE).rename(folder / "elsewhere")
    with pytest.raises(DataError, match=r"progress.json: missing beside collected files"):
        Collector(client, folder)


def test_what_a_run_says(serving: Process, client: Any, folder: Path) -> None:
    serving.shows("r1", "u", ["i1", "i2"], NOON)
    drained(client, folder)
    collector = Collector(client, folder)
    before = collector.progress.copied()
    serving.shows("r2", "u", ["i1", "i2", "i3"], NOON)
    serving.raw(IMPRESSIONS, b"{", NOON)
    collector.drain()
    assert told(before, collector.progress)["rows"] == {"impressions": 3}
    counts = {"entries": 2, "lost": 0, "repeated": 0, "refused": {"torn": 1}}
    assert told(before, collector.progress)["streams"]["impressions"] == counts


def test_one_collector_at_a_time(settings: Settings, client: Any) -> None:
    from training.lock import held

    with held(settings.served / "collect.lock"), pytest.raises(CollectError, match="another collector is at work"):
        collect(settings, once=True, everything=False, beat_s=1, stop=Stop())


def test_a_run_told_to_stop_ends_though_redis_is_away(tmp_path: Path) -> None:
    stop = Stop()
    stop.tell()
    began = time.monotonic()
    collect(isolated_settings(tmp_path), once=False, everything=False, beat_s=1, stop=stop)
    assert time.monotonic() - began < PATIENCE_S


def test_what_fails_is_tried_again_until_it_does(tmp_path: Path) -> None:
    failures: list[Exception] = [redis.ConnectionError("away"), redis.BusyLoadingError("loading"), OSError("full")]

    def work() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert persist(work, isolated_settings(tmp_path), once=False, stop=Stop()) == "done"


def committed(folder: Path) -> int:
    """The last batch that a collector of another process has committed."""
    return progress.read(folder).batch if (folder / progress.FILE).exists() else 0


def test_killed_at_work_and_started_again_every_row_is_there_once(
    settings: Settings, client: Any, serving: Process
) -> None:
    now = datetime.now(UTC)
    command = [sys.executable, "-m", "training", "collect", "--beat", "0.1", "--json"]
    variables = child_environment(settings)
    with subprocess.Popen(command, env=variables, cwd=ROOT, stdout=subprocess.DEVNULL) as child:
        number = 0
        while committed(settings.served) < 5:
            serving.acts(f"e{number}", "u", "i", "view", now)
            serving.shows(f"r{number}", "u", ["i1", "i2"], now)
            number += 1
            time.sleep(0.005)
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    with subprocess.Popen(command, env=variables, cwd=ROOT, stdout=subprocess.PIPE) as child:
        while client.xlen(EVENTS) or client.xlen(IMPRESSIONS):
            time.sleep(0.05)
            assert child.poll() is None
        child.send_signal(signal.SIGTERM)
        said, _ = child.communicate(timeout=30)
    assert child.returncode == 0
    assert orjson.loads(said.splitlines()[-1])["streams"]["events"]["lost"] == 0
    assert names(settings.served, "events", "event_id") == sorted(f"e{n}" for n in range(number))
    assert names(settings.served, "impressions", "request_id") == sorted(2 * [f"r{n}" for n in range(number)])
