"""A bounded map that forgets the least recently used entry, and each entry after a time. Event-loop local."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Generic, TypeVar

from orchestrator.deadline import Clock

V = TypeVar("V")


class Lru(Generic[V]):
    """At most `most` entries, each for `ttl_s` seconds on the monotonic clock."""

    def __init__(self, most: int, ttl_s: float = float("inf"), clock: Clock = time.monotonic) -> None:
        self._most = most
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, V]] = OrderedDict()

    def get(self, key: str) -> V | None:
        """The value, or None when absent or expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] < self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def get_all(self, keys: Sequence[str]) -> list[V | None]:
        """The values of several keys; one look at the clock."""
        now, entries = self._clock(), self._entries
        found: list[V | None] = []
        for key in keys:
            entry = entries.get(key)
            if entry is not None and entry[0] >= now:
                entries.move_to_end(key)
                found.append(entry[1])
            else:
                found.append(None)
        return found

    def put(self, key: str, value: V) -> None:
        """Insert or replace; the oldest entry makes room."""
        self._entries[key] = (self._clock() + self._ttl_s, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def drop(self, key: str) -> None:
        """Forget the key."""
        self._entries.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)
