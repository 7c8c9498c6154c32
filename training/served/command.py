"""`python -m training collect`: once, or with a beat until it is told to stop. Figures go to a textfile as well."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import redis
import structlog
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from deploy.settings import Settings
from feature_repo.store import connect
from training.lock import HeldError, held
from training.served.collect import Collector, told
from training.served.entries import TABLE_OF
from training.served.errors import CollectError
from training.served.progress import Progress, order_of

PATIENCE_S = 10.0  # of a single run; with a beat it waits for as long as it takes
LONGEST_WAIT_S = 30.0
COMPACT_BEATS = 120
LOCK, PROMETHEUS = "collect.lock", "collect.prom"
POLL_S = 0.1
T = TypeVar("T")
log = structlog.get_logger(__name__)


class Stop:
    """Told once, by a signal; a plain flag, because a lock that a signal handler takes may be held already."""

    told = False

    def tell(self) -> None:
        """End after the batch in hand."""
        self.told = True

    def wait(self, seconds: float) -> None:
        """Sleep, less when told."""
        until = time.monotonic() + seconds
        while not self.told and (left := until - time.monotonic()) > 0:
            time.sleep(min(POLL_S, left))


def collect(settings: Settings, once: bool, everything: bool, beat_s: float, stop: Stop) -> dict[str, Any]:
    """Collect into settings.served; returns what this run collected. `everything`: today becomes one file as well.

    Raises CollectError: another collector is at work, or (`once`) Redis or the disk does not do for `PATIENCE_S`.
    """
    with _alone(settings.served), connect(settings) as client:
        collector = Collector(client, settings.served)
        before, beats, days = collector.progress.copied(), 0, 0
        while True:
            persist(lambda: collector.drain(lambda: stop.told), settings, once, stop)
            if beats % COMPACT_BEATS == 0 and not stop.told:
                days += persist(lambda: collector.compact(everything), settings, once, stop) or 0
            persist(lambda: _write_figures(settings.served / PROMETHEUS, collector.progress), settings, once, stop)
            beats += 1
            if not once:
                stop.wait(beat_s)
            if once or stop.told:
                return told(before, collector.progress) | {"compacted_days": days}


@contextmanager
def until_told(stop: Stop) -> Iterator[None]:
    """SIGTERM and SIGINT tell it while the block runs."""
    names = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(name, lambda *_: stop.tell()) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        with held(folder / LOCK):
            yield
    except HeldError as error:
        raise CollectError(f"another collector is at work in {folder} (pid {error.owner})") from None


def persist(work: Callable[[], T], settings: Settings, once: bool, stop: Stop) -> T | None:
    """Do the work, however often that takes; None when told to stop before it was done."""
    began = time.monotonic()
    tries = Retrying(
        retry=retry_if_exception_type((redis.RedisError, OSError, HeldError)),
        wait=wait_exponential_jitter(initial=0.2, max=LONGEST_WAIT_S, jitter=0.2),
        stop=lambda _: stop.told or (once and time.monotonic() - began > PATIENCE_S),
        sleep=stop.wait,
        before_sleep=_say,
        reraise=True,
    )
    try:
        return tries(work)
    except (redis.RedisError, OSError, HeldError) as error:
        if once:
            where = f"Redis at {settings.host}:{settings.redis_port}, {settings.served}"
            raise CollectError(f"{where}: {error}; what is not collected stays in Redis") from None
        return None


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("collecting_waits", tries=state.attempt_number, error=f"{type(error).__name__}: {error}")


def _write_figures(path: Path, progress: Progress) -> None:
    registry = CollectorRegistry()
    rows = Gauge("trident_collected_rows", "rows written to the served log", ["table"], registry=registry)
    for table, count in progress.rows.items():
        rows.labels(table).set(count)
    lost = Gauge("trident_collected_lost", "entries missing in their instance's numbers", ["table"], registry=registry)
    refused = Gauge("trident_collected_refused", "entries set aside", ["table", "reason"], registry=registry)
    newest = Gauge("trident_collected_timestamp_seconds", "arrival of the newest", ["table"], registry=registry)
    for name, stream in progress.streams.items():
        table = TABLE_OF[name]
        lost.labels(table).set(stream.lost)
        newest.labels(table).set(order_of(stream.last)[0] / 1000 if stream.last else 0)
        for reason, count in stream.refused.items():
            refused.labels(table, reason).set(count)
    write_to_textfile(str(path), registry)


def readable(document: Mapping[str, Any]) -> str:
    """What was collected, for a person."""
    rows = ", ".join(f"{count} {table}" for table, count in sorted(document["rows"].items())) or "nothing"
    lines = [f"collected {rows} in {document['seconds']:g} s; {document['compacted_days']} days became one file"]
    for table, stream in sorted(document["streams"].items()):
        aside = ", ".join(f"{reason} {count}" for reason, count in sorted(stream["refused"].items())) or "none"
        lines.append(f"{table}, ever: {stream['lost']} lost, {stream['repeated']} repeated, set aside: {aside}")
    return "\n".join(lines)
