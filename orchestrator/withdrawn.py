"""What must not be shown whatever answers: the items that the overlay calls out of stock or unsafe.

`candidates` knows all of the overlay; this is for the rungs without it. Mirrored to a local file, so that it holds
through a Redis outage and a restart during it.
"""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import orjson
import structlog

from deploy.triton.backends.overlay import IN_STOCK, IS_SAFE, REGIONS, OverlayError, Position, Read, Steps, read
from orchestrator import mirror
from orchestrator.contact import Contact
from orchestrator.deadline import Clock
from orchestrator.errors import StageError
from orchestrator.metrics import BROKEN, child
from orchestrator.policy import OverlayPolicy
from orchestrator.popular import Limits
from orchestrator.redis_link import Store
from orchestrator.rules import NO_KEYS, Keys

MIRROR = "withdrawn.json"
HIDING = (IN_STOCK, IS_SAFE)
log = structlog.get_logger(__name__)


class WithdrawnFollower:
    """Holds `keys`, sorted, of what is withdrawn, and `limits`, the countries of items whose regions changed."""

    def __init__(
        self, store: Store, mirror_file: Path, policy: OverlayPolicy, limits: Limits, clock: Clock = time.monotonic
    ) -> None:
        self._store = store
        self._file = mirror_file
        self._policy = policy
        self._hidden: dict[str, set[int]] = {name: set() for name in HIDING}
        self.contact = Contact(clock, "overlay")
        self.position: Position | None = None
        self.keys: Keys = NO_KEYS
        self.limits = limits

    async def start(self) -> None:
        """The mirror, then what Redis has after it."""
        if (content := mirror.load(self._file)) is not None:
            self._remember(content)
        await self.refresh()

    async def refresh(self) -> None:
        """Take what is new; an outage changes nothing."""
        try:
            found = await self._read(read(self.position, (*HIDING, REGIONS)))
        except (StageError, OverlayError) as error:
            self.contact.lost(error.reason if isinstance(error, StageError) else "refused")
            return
        if found.lost:
            log.error("overlay_lost", now_at=found.position.sequence, was_at=self.position and self.position.sequence)
        if found.broken:
            child(BROKEN, "overlay").inc(found.broken)
        changed = self._take(found)
        self.contact.made(changed)
        if changed:
            log.debug("withdrawn", position=found.position.sequence, items=len(self.keys), limited=len(self.limits))
            await asyncio.to_thread(mirror.save, self._file, self._content())

    async def _read(self, steps: Steps) -> Read:
        commands = next(steps)
        while True:
            replies = await self._store.execute(commands, self._policy.read_s)
            try:
                commands = steps.send(replies)
            except StopIteration as end:
                found: Read = end.value
                return found

    def _take(self, found: Read) -> bool:
        """Whether anything that is held here changed."""
        if found.position == self.position and not found.complete:
            return False
        before = (self._hidden, dict(self.limits))
        self._hidden = {
            name: (set() if found.complete else self._hidden[name] - found.changes[name].keys())
            | {key for key, value in found.changes[name].items() if value is False}
            for name in HIDING
        }
        if found.complete:
            self.limits.clear()
        for key, codes in found.changes[REGIONS].items():
            self.limits.pop(key, None)
            if isinstance(codes, frozenset):
                self.limits[key] = codes
        self.position = found.position
        if before == (self._hidden, self.limits):
            return False
        self.keys = ordered(set().union(*self._hidden.values()))
        return True

    def _content(self) -> bytes:
        position = self.position or Position()
        body = {"sequence": position.sequence, "entry": position.entry.decode()}
        hidden = {name: sorted(keys) for name, keys in self._hidden.items()}
        limits = {str(key): sorted(codes) for key, codes in self.limits.items()}
        return orjson.dumps(body | hidden | {REGIONS: limits})

    def _remember(self, content: bytes) -> None:
        """Take what an earlier run left; a file that is not one of ours is none."""
        try:
            body = orjson.loads(content)
            hidden = {name: set(map(int, body[name])) for name in HIDING}
            keys = ordered(set().union(*hidden.values()))
            limits = {int(key): frozenset(map(int, codes)) for key, codes in body[REGIONS].items()}
            position = Position(int(body["sequence"]), body["entry"].encode("ascii"))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            child(BROKEN, "withdrawn_mirror").inc()
            return
        self._hidden, self.keys, self.position = hidden, keys, position
        self.limits.update(limits)


def ordered(keys: Iterable[int]) -> Keys:
    """The keys as a sorted array."""
    return np.sort(np.fromiter(keys, np.int64))
