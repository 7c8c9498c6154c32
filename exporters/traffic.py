"""The traffic record's writer: Redis first, then the local mirror that outlives it.

Every change is read → change → write under Redis's WATCH: of two writers, the later one starts over from what the
earlier one wrote.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import redis
from pydantic import ValidationError

from deploy.settings import Settings
from exporters.errors import ServerError, TrafficError
from exporters.files import replace_file
from feature_repo.served import FIELD, IMPRESSIONS
from model_repository.traffic import HEARTBEATS, MIRROR, TRAFFIC_KEY, Heartbeat, Popular, Traffic, popular_key

StreamEntry = tuple[bytes, dict[bytes, bytes]]
PAGE = 1000  # entries of a stream read at once
TRIES = 20  # of a write, while others write as well
Step = Callable[[Traffic | None], Traffic]


class TrafficStore:
    """Reads and writes the record of one workspace. Raises ServerError when Redis does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._redis = redis.Redis.from_url(settings.redis_url, socket_timeout=2.0, socket_connect_timeout=1.0)
        self._url = settings.redis_url
        self._mirror = settings.workspace / MIRROR
        self._popular = settings.workspace

    def read(self) -> Traffic | None:
        """The record in Redis, or its mirror when Redis has none (its data was lost) or an older one."""
        with self._talking():
            return self._newest(self._redis.get(TRAFFIC_KEY))

    def require(self) -> Traffic:
        """The record. Raises TrafficError when nothing was published yet."""
        if (traffic := self.read()) is None:
            raise TrafficError("nothing carries traffic yet; `python -m exporters publish` first")
        return traffic

    def mirrored(self) -> Traffic | None:
        """The local mirror of the record; None when it is absent or of another revision."""
        with suppress(OSError, ValidationError):
            return Traffic.model_validate_json(self._mirror.read_bytes())
        return None

    def change(self, step: Step) -> Traffic:
        """Write what `step` makes of the record as it is; the sequence grows by one.

        `step` may be called again when another writer came first. What it raises is passed on; nothing changed then.
        """
        with self._talking(), self._redis.pipeline() as pipeline:
            for _ in range(TRIES):
                with suppress(redis.WatchError):
                    pipeline.watch(TRAFFIC_KEY)  # type: ignore[no-untyped-call]
                    before = self._newest(pipeline.get(TRAFFIC_KEY))
                    after = step(before)
                    after = after.model_copy(update={"sequence": before.sequence + 1 if before else 1})
                    pipeline.multi()
                    pipeline.set(TRAFFIC_KEY, after.model_dump_json())
                    pipeline.execute()
                    self._keep(after)
                    return after
        raise ServerError(f"Redis at {self._url}: the traffic record changed {TRIES} times under us; try again")

    def impressions(self, since: float) -> Iterator[bytes]:
        """The impression log's entries, as far as the stream still holds them, from a unix second on."""
        start = f"{int(1000 * since)}"
        with self._talking():
            while entries := cast(list[StreamEntry], self._redis.xrange(IMPRESSIONS, min=start, count=PAGE)):
                yield from (fields.get(FIELD, b"") for _, fields in entries)
                start = f"({entries[-1][0].decode()}"

    def write_popular(self, popular: Popular) -> None:
        """Store a release's popular items."""
        content = popular.model_dump_json()
        with self._talking():
            self._redis.set(popular_key(popular.release), content)
        replace_file(self._popular_file(popular.release), content)

    def restore_popular(self, release: int) -> None:
        """Put a release's popular items back into a Redis that lost them."""
        mirror = self._popular_file(release)
        if mirror.is_file():
            with self._talking():
                self._redis.set(popular_key(release), mirror.read_text())

    def forget_popular(self, release: int) -> None:
        """Remove a retired release's popular items."""
        with self._talking():
            self._redis.delete(popular_key(release))
        self._popular_file(release).unlink(missing_ok=True)

    def heartbeats(self) -> list[Heartbeat]:
        """Of every orchestrator that lives; one that another revision wrote is left out."""
        beats = []
        with self._talking():
            keys = list(self._redis.scan_iter(f"{HEARTBEATS}*", count=1000))
            contents = cast(list[bytes | None], self._redis.mget(keys)) if keys else []
        for content in contents:
            with suppress(ValidationError):
                beats.append(Heartbeat.model_validate_json(content or b""))
        return beats

    def called(self) -> set[int]:
        """Releases that some orchestrator may still call."""
        return {number for beat in self.heartbeats() for number in beat.releases}

    def _popular_file(self, release: int) -> Path:
        return self._popular / f"popular-{release}.json"

    def _keep(self, written: Traffic) -> None:
        """Mirror it, unless a later writer was quicker to."""
        held = self.mirrored()
        if held is None or held.sequence < written.sequence:
            replace_file(self._mirror, written.model_dump_json(indent=2))

    def _newest(self, stored: object) -> Traffic | None:
        mirrored = self.mirrored()
        if not isinstance(stored, bytes):
            return mirrored
        try:
            record = Traffic.model_validate_json(stored)
        except ValidationError:  # another revision's, or damaged: the last good one is in the mirror
            return mirrored
        return mirrored if mirrored is not None and mirrored.sequence > record.sequence else record

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise ServerError(f"Redis at {self._url}: {error}; start it with `make serve`") from None


def new_salt() -> str:
    """A salt for a first record; it stays as long as the record does."""
    return secrets.token_hex(8)


def now() -> datetime:
    """When a change happened."""
    return datetime.now(UTC)
