"""Background writes to Redis: what was shown, embeddings, rows found elsewhere. Bounded; every drop is counted.

One task drains the queue in batches, a pipeline each. A Redis that is away costs entries, never a request.
"""

from collections import deque
from collections.abc import Sequence

from orchestrator.drain import Drain
from orchestrator.errors import StageError
from orchestrator.metrics import DROPPED, child
from orchestrator.redis_link import Command, Store

BATCH = 500
FLUSH_TIMEOUT_S = 0.25
Kind = str


class Writer:
    """`command` returns at once; `start` … `close` run the drain, and closing flushes."""

    def __init__(self, store: Store, most: int = 2_000) -> None:
        self._store = store
        self._most = most
        self._commands: deque[tuple[Kind, Command]] = deque()
        self._drain = Drain("writer", self.flush)

    async def start(self) -> None:
        """Begin to drain."""
        self._drain.start()

    async def close(self) -> None:
        """Stop, after writing what is queued."""
        await self._drain.close()

    def command(self, kind: Kind, *commands: Command) -> None:
        """Queue commands for Redis; `kind` names them in the drop counter."""
        if len(self._commands) + len(commands) > self._most:
            child(DROPPED, kind, "queue_full").inc()
            return
        self._commands.extend((kind, command) for command in commands)

    async def flush(self) -> None:
        """Write what is queued now."""
        while self._commands:
            await self._write([self._commands.popleft() for _ in range(min(BATCH, len(self._commands)))])

    async def _write(self, batch: Sequence[tuple[Kind, Command]]) -> None:
        try:
            await self._store.execute([command for _, command in batch], FLUSH_TIMEOUT_S)
        except StageError as error:
            for kind, _ in batch:
                child(DROPPED, kind, f"redis_{error.reason}").inc()
