"""The collector: streams → Parquet by day, one batch after the other. `python -m training collect`.

A batch is written, committed, acknowledged. Whatever goes wrong between, Redis gives the same entries again: those of a
committed batch are acknowledged only, all others are written anew.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from feature_repo.served import EVENTS, FIELD, IMPRESSIONS
from training.served import parts, progress
from training.served.entries import BAD_INPUTS, TABLE_OF, Parsed, RefusedError, Row, arrival, parse, stamp_of
from training.served.progress import Progress, Stream
from training.served.streams import Entry, Group

BATCH = 2_000  # entries; one of impressions holds an answer's items
STREAMS = (IMPRESSIONS, EVENTS)
QUARANTINE = "quarantine"
REMEMBERED = 200_000  # events, so that an event that is sent again after days is one
LONGEST_KEPT = 16_384  # bytes of an entry that could not be read
GONE = "trimmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch sorted: rows by (table, day), what was refused, identities of new events."""

    rows: dict[tuple[str, date], list[Row]] = field(default_factory=lambda: defaultdict(list))
    refused: list[Row] = field(default_factory=list)
    identities: dict[str, None] = field(default_factory=dict)


class Collector:
    """Collects into a folder; the caller sees to it that nobody else does."""

    def __init__(self, client: Any, folder: Path, batch: int = BATCH) -> None:
        self._groups = [Group(client, stream) for stream in STREAMS]
        self._folder = folder
        self._most = batch
        self.progress = progress.read(folder)
        if not self.progress.batch:
            progress.commit(folder, self.progress)
        parts.drop_uncommitted(folder, self.progress.batch)
        self._known = dict.fromkeys(parts.newest_identities(folder, REMEMBERED))
        self._unsure = False

    def drain(self, told: Callable[[], bool] = lambda: False) -> None:
        """Collect all that is there; less when told to stop. Raises redis.RedisError, OSError; it may be called again.

        Only what is pending may be on disk already: after Redis was emptied and its clock went back, new entries have
        ids of old ones.
        """
        if self._unsure:
            parts.drop_uncommitted(self._folder, self.progress.batch)
        self._unsure = True
        for group in self._groups:
            group.ensure()
            while not told() and (entries := group.pending(self._most)):
                self._settle(group, entries, self.progress.stream(group.stream).holds)
            while not told() and (entries := group.fresh(self._most)):
                self._settle(group, entries)
            group.trim()
        self._unsure = False

    def compact(self, everything: bool = False) -> int:
        """Make one file of each day that is over, or of every day; returns how many days."""
        newest = self._today()
        return parts.compact(self._folder, None if everything else newest) if newest or everything else 0

    def _settle(self, group: Group, entries: Sequence[Entry], held: Callable[[str], bool] = lambda _: False) -> None:
        """Put a batch where it belongs, but for what is held there, then acknowledge it."""
        new = [(entry_id, fields) for entry_id, fields in entries if not held(entry_id)]
        if new:
            self._collect(group.stream, new)
        group.acknowledge([entry_id for entry_id, _ in entries])

    def _collect(self, stream: str, entries: Sequence[Entry]) -> None:
        counting = self.progress.copied()
        batch = self._sorted(stream, entries, counting.stream(stream))
        counting.batch += 1
        first, last = entries[0][0], entries[-1][0]
        for (table, day), rows in batch.rows.items():
            name = parts.part_name(counting.batch, first, last, "parquet")
            parts.write_part(self._folder, table, day, name, rows)
            counting.rows[table] = counting.rows.get(table, 0) + len(rows)
        if batch.refused:
            name = parts.part_name(counting.batch, first, last, "jsonl")
            self._set_aside(TABLE_OF[stream], name, batch.refused)
        counted = counting.stream(stream)
        counted.first, counted.last, counted.entries = first, last, counted.entries + len(entries)
        progress.commit(self._folder, counting)
        self.progress = counting
        self._remember(batch.identities)

    def _sorted(self, stream: str, entries: Sequence[Entry], counts: Stream) -> Batch:
        batch = Batch()
        for entry_id, fields in entries:
            if fields is None:  # the stream was cut before it was read; its number will be missed
                counts.refuse(GONE)
                continue
            try:
                parsed = parse(stream, entry_id, fields)
            except RefusedError as refused:
                self._refuse(batch, counts, entry_id, fields, refused.reason)
                continue
            if parsed.flaw:
                self._refuse(batch, counts, entry_id, fields, parsed.flaw)
            if counts.fresh(*parsed.stamp) and not self._is_known(parsed, batch, counts):
                for table, rows in parsed.rows.items():
                    if rows:  # an answer may show nothing
                        batch.rows[table, parsed.day].extend(rows)
        return batch

    def _refuse(self, batch: Batch, counts: Stream, entry_id: str, fields: Mapping[bytes, bytes], reason: str) -> None:
        counts.refuse(reason)
        text = fields.get(FIELD, b"")[:LONGEST_KEPT].decode(errors="backslashreplace")
        batch.refused.append({"id": entry_id, "reason": reason, "entry": text})
        stamp = stamp_of(fields)
        if stamp is not None and reason != BAD_INPUTS:
            counts.fresh(*stamp)

    def _is_known(self, parsed: Parsed, batch: Batch, counts: Stream) -> bool:
        """Whether the event was collected before."""
        if parsed.identity is None:
            return False
        if parsed.identity in self._known or parsed.identity in batch.identities:
            counts.repeated += 1
            return True
        batch.identities[parsed.identity] = None
        return False

    def _remember(self, identities: Mapping[str, None]) -> None:
        self._known.update(identities)
        for identity in list(self._known)[: max(0, len(self._known) - REMEMBERED)]:
            del self._known[identity]

    def _set_aside(self, table: str, name: str, refused: Sequence[Row]) -> None:
        content = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in refused)
        parts.write_durably(self._folder / QUARANTINE / table / name, lambda file: file.write(content))

    def _today(self) -> date | None:
        """The day of the newest entry."""
        moments = [arrival(stream.last) for stream in self.progress.streams.values() if stream.last]
        return max(moments).date() if moments else None


def told(before: Progress, now: Progress) -> dict[str, Any]:
    """What a run has collected, and what was counted since ever."""
    rows = {table: count - before.rows.get(table, 0) for table, count in now.rows.items()}
    streams = {
        TABLE_OF[name]: {
            "entries": stream.entries - before.stream(name).entries,
            "lost": stream.lost, "repeated": stream.repeated, "refused": stream.refused,
        } for name, stream in now.streams.items()
    }  # fmt: skip
    return {"rows": rows, "streams": streams, "batch": now.batch}
