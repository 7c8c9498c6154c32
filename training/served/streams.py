"""A consumer group on a stream of the log. One consumer: what is pending is the batch that its last run had in hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import redis

from training.served.progress import order_of

GROUP, CONSUMER = "training", "collector"
Entry = tuple[str, Mapping[bytes, bytes] | None]  # id and fields; None: trimmed away before it was read


class Group:
    """The group on one stream; every method raises redis.RedisError."""

    def __init__(self, client: Any, stream: str) -> None:
        self._client = client
        self.stream = stream

    def ensure(self) -> None:
        """Create the group, from the stream's beginning; a Redis that was emptied has none."""
        try:
            self._client.xgroup_create(self.stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def pending(self, most: int) -> list[Entry]:
        """What was read and not acknowledged, in order."""
        return self._read("0", most)

    def fresh(self, most: int) -> list[Entry]:
        """What nobody has read; it is pending then."""
        return self._read(">", most)

    def acknowledge(self, ids: Sequence[str]) -> None:
        """These entries are collected."""
        if ids:
            self._client.xack(self.stream, GROUP, *ids)

    def trim(self) -> int:
        """Remove from the stream what every group has acknowledged; returns how many entries."""
        groups = self._client.xinfo_groups(self.stream)
        first = min((self._first_needed(group) for group in groups), key=order_of)
        return int(self._client.xtrim(self.stream, minid=first, approximate=False))

    def waiting(self) -> int:
        """Entries in the stream."""
        return int(self._client.xlen(self.stream))

    def _read(self, after: str, most: int) -> list[Entry]:
        answer = self._client.xreadgroup(GROUP, CONSUMER, {self.stream: after}, count=most)
        entries = answer[0][1] if answer else []
        return [(entry_id.decode(), fields or None) for entry_id, fields in entries]

    def _first_needed(self, group: Mapping[str, Any]) -> str:
        """The oldest id that a group may still ask for."""
        if group["pending"]:
            return str(self._client.xpending(self.stream, group["name"])["min"].decode())
        milliseconds, number = order_of(group["last-delivered-id"].decode())
        return f"{milliseconds}-{number + 1}"
