"""What happens after the answer: background writes to Redis and the impression log. Bounded; every drop is counted.

One task drains the queue in batches: one pipeline to Redis, one append to the log file. A slow or full disk and a
Redis that is away cost entries, never a request.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import orjson
import structlog

from orchestrator.errors import StageError
from orchestrator.metrics import DROPPED, child
from orchestrator.redis_link import Command, Store

BEAT_S = 0.05
BATCH = 500
FLUSH_TIMEOUT_S = 0.25
log = structlog.get_logger(__name__)
Kind = str


class Writer:
    """`command` and `line` return at once; `start` … `close` run the drain, and closing flushes."""

    def __init__(self, store: Store, log_file: Path | None = None, most: int = 2_000) -> None:
        self._store = store
        self._file = log_file
        self._most = most
        self._commands: deque[tuple[Kind, Command]] = deque()
        self._lines: deque[dict[str, object]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to drain."""
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        self._task = asyncio.create_task(self._drain(), name="writer")

    async def close(self) -> None:
        """Stop, after writing what is queued."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.flush()

    def command(self, kind: Kind, *commands: Command) -> None:
        """Queue commands for Redis; `kind` names them in the drop counter."""
        if len(self._commands) + len(commands) > self._most:
            child(DROPPED, kind, "queue_full").inc()
            return
        self._commands.extend((kind, command) for command in commands)

    def line(self, entry: dict[str, object]) -> None:
        """Queue one line of the impression log."""
        if len(self._lines) >= self._most:
            child(DROPPED, "impression", "queue_full").inc()
            return
        self._lines.append(entry)

    async def flush(self) -> None:
        """Write what is queued now."""
        while self._commands or self._lines:
            await self._write_commands([self._commands.popleft() for _ in range(min(BATCH, len(self._commands)))])
            await self._write_lines([self._lines.popleft() for _ in range(min(BATCH, len(self._lines)))])

    async def _drain(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            await self.flush()

    async def _write_commands(self, batch: Sequence[tuple[Kind, Command]]) -> None:
        if not batch:
            return
        try:
            await self._store.execute([command for _, command in batch], FLUSH_TIMEOUT_S)
        except StageError as error:
            for kind, _ in batch:
                child(DROPPED, kind, f"redis_{error.reason}").inc()

    async def _write_lines(self, batch: Sequence[dict[str, object]]) -> None:
        if not batch or self._file is None:
            return
        content = b"".join([orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE) for entry in batch])
        try:
            await asyncio.to_thread(_append, self._file, content)
        except OSError as error:
            child(DROPPED, "impression", "disk").inc(len(batch))
            log.error("impressions_not_written", error=str(error))


def _append(file: Path, content: bytes) -> None:
    with file.open("ab") as stream:
        stream.write(content)
