"""The impression log: a bounded queue, drained into a Redis stream; into a local file while Redis takes nothing.

An entry that is queued is numbered, so whoever reads the stream counts what is missing. Every drop here is counted by
reason. Nothing waits for Redis or for the disk but the drain itself.
"""

import asyncio
import time
import uuid
from base64 import b64encode
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import structlog

from feature_repo.served import FIELD, IMPRESSIONS
from orchestrator.drain import Drain
from orchestrator.errors import StageError
from orchestrator.metrics import DROPPED, REPLAYED, SPILLED, child
from orchestrator.policy import LogPolicy
from orchestrator.redis_link import Command, Store
from orchestrator.spill import FullError, Spill

BATCH = 500
TIMEOUT_S = 0.25
KIND = "impression"
log = structlog.get_logger(__name__)


def stream_entry(stream: str, line: bytes, most: int) -> Command:
    """Add one JSON object to a stream of about `most` entries."""
    return ("XADD", stream, "MAXLEN", "~", most, "*", FIELD, line)


class ImpressionLog:
    """`add` returns at once; `start` … `close` run the drain, and closing flushes."""

    def __init__(self, store: Store, file: Path | None = None, policy: LogPolicy | None = None) -> None:
        self._store = store
        self._policy = policy or LogPolicy()
        self._spill = Spill(file, self._policy.spill_bytes) if file is not None else None
        self._queue: deque[Mapping[str, object]] = deque()
        self._instance = uuid.uuid4().hex[:12]
        self._numbered = 0
        self._again_at = 0.0
        self._drain = Drain("impression-log", self._turn)

    async def start(self) -> None:
        """Begin to drain; what an earlier process left in the file comes back as well."""
        self._drain.start()

    async def close(self) -> None:
        """Stop, after writing what is queued."""
        await self._drain.close()

    def add(self, entry: dict[str, object]) -> None:
        """Queue one entry; bytes in it are written as base64."""
        if len(self._queue) >= self._policy.queue:
            child(DROPPED, KIND, "queue_full").inc()
            return
        self._numbered += 1
        entry["instance"], entry["seq"] = self._instance, self._numbered
        self._queue.append(entry)

    async def flush(self) -> None:
        """Write what is queued now."""
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            lines = [line for entry in batch if (line := _line(entry)) is not None]
            if not await self._ship(lines):
                await self._keep(lines)

    async def _turn(self) -> None:
        await self.flush()
        due = self._store.available and time.monotonic() >= self._again_at
        if due and self._spill is not None and self._spill.waiting:
            await self._bring_back(self._spill)

    async def _bring_back(self, spill: Spill) -> None:
        """Move one batch of what was spilled into the stream."""
        try:
            lines, torn = await asyncio.to_thread(spill.peek, BATCH)
            if lines and not await self._ship(lines):
                self._again_at = time.monotonic() + self._policy.retry_s
                return
            await asyncio.to_thread(spill.forget)
        except OSError as error:
            self._again_at = time.monotonic() + self._policy.retry_s
            log.error("spilled_impressions_not_read", error=str(error))
            return
        child(REPLAYED, KIND).inc(len(lines))
        child(DROPPED, KIND, "torn").inc(torn)

    async def _ship(self, lines: Sequence[bytes]) -> bool:
        commands = [stream_entry(IMPRESSIONS, line, self._policy.stream) for line in lines]
        try:
            await self._store.execute(commands, TIMEOUT_S)
        except StageError:
            return False
        return True

    async def _keep(self, lines: Sequence[bytes]) -> None:
        if self._spill is None:
            child(DROPPED, KIND, "redis").inc(len(lines))
            return
        try:
            await asyncio.to_thread(self._spill.append, lines)
        except OSError as error:
            reason = "spill_full" if isinstance(error, FullError) else "disk"
            child(DROPPED, KIND, reason).inc(len(lines))
            log.error("impressions_not_written", reason=reason, error=str(error))
            return
        child(SPILLED, KIND).inc(len(lines))


def _line(entry: Mapping[str, object]) -> bytes | None:
    """The entry as JSON; None, and counted, when it is none."""
    try:
        return orjson.dumps(entry, default=_text)
    except orjson.JSONEncodeError as error:
        child(DROPPED, KIND, "not_json").inc()
        log.error("impression_is_no_json", error=str(error))
        return None


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError
