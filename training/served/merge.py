"""The collected log beside a source's own raw tables: `raw/<table>/served/day=YYYY-MM-DD/`.

Days are hard links. Where an event says no request, it belongs to the latest impression of that item for that user in
the half hour before, if there was one; such a day is written anew.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from training.adapters.canonical import SCHEMAS
from training.adapters.files.partitions import measure, moment
from training.adapters.publish import link_file
from training.adapters.source import Source
from training.served import parts

SERVED = "served"
LOGS = ("events", "impressions")
ATTRIBUTION = timedelta(minutes=30)
KEYS = ["user_id", "item_id"]


@dataclass(slots=True, kw_only=True)
class Merge:
    """Adds the log in `folder` to raw tables; counts `rows` by table and events `attributed` to a request."""

    folder: Path
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LOGS, 0))
    attributed: int = 0

    def __call__(self, raw: Path, source: Source, pinned: bool = False) -> Source:
        """Add the log's days to `raw`; returns the source as it is with them.

        as_of moves on to the log's last moment, unless it is `pinned`: then later days stay out. Impressions make a
        source one that has impressions when they cover its windows, because from then on they alone are its examples.
        """
        latest = [source.as_of] if source.as_of else []
        with parts.unmoved(self.folder):
            for table in LOGS:
                for day, place in parts.days(self.folder, table).items():
                    if not (pinned and source.as_of and day > source.as_of.date()):
                        latest += self._add(table, day, place, raw / table / SERVED / place.name)
            first = min(parts.days(self.folder, "impressions"), default=None)
        now = source.as_of if pinned else max(latest, default=None)
        return _with(source, now, covered=first is not None and now is not None and _covers(source, first, now))

    def told(self) -> dict[str, object]:
        """What an ingest says of it."""
        return {SERVED: {**self.rows, "attributed": self.attributed}}

    def _add(self, table: str, day: date, place: Path, target: Path) -> list[datetime]:
        found = measure(place, "")
        if not found.rows:
            return []
        self.rows[table] += found.rows
        target.mkdir(parents=True)
        if table == "events" and _silent(place):
            self._attribute(day, place, target)
        else:
            for path in parts.files(place):
                link_file(path, target / path.name)
        return [] if found.latest is None else [moment(found.latest).astimezone(UTC)]

    def _attribute(self, day: date, place: Path, target: Path) -> None:
        events = _rows(place)
        shown = self._shown(day)
        requests = events["request_id"].to_pandas()
        found = attributed(events, shown)
        self.attributed += int((requests.isna() & found.notna()).sum())
        column = events.schema.get_field_index("request_id")
        pq.write_table(events.set_column(column, "request_id", pa.array(found, pa.string())), target / "events.parquet")

    def _shown(self, day: date) -> pa.Table:
        """Impressions that events of the day may belong to: its own, and those of the day before."""
        held = parts.days(self.folder, "impressions")
        wanted = [held[d] for d in (day - timedelta(days=1), day) if d in held]
        columns = [*KEYS, "timestamp", "request_id"]
        tables = [_rows(place, columns) for place in wanted]
        return pa.concat_tables(tables) if tables else SCHEMAS["impressions"].empty_table().select(columns)


def attributed(events: pa.Table, shown: pa.Table) -> pd.Series:
    """The request of each event [n]: its own; else that of the user's latest impression of the item, up to
    `ATTRIBUTION` before; else none."""
    acted = events.select([*KEYS, "timestamp", "request_id"]).to_pandas()
    acted["place"] = np.arange(len(acted))
    silent = acted[acted["request_id"].isna()].drop(columns="request_id").sort_values("timestamp", kind="stable")
    before = shown.to_pandas().sort_values("timestamp", kind="stable")
    near = pd.merge_asof(silent, before, on="timestamp", by=KEYS, tolerance=ATTRIBUTION)
    found: pd.Series = acted["request_id"].copy()
    found.iloc[near["place"].to_numpy()] = near["request_id"].to_numpy()
    return found


def _silent(place: Path) -> bool:
    """Whether an event of the day says no request."""
    return any(parts.read(path, ["request_id"])["request_id"].null_count for path in parts.files(place))


def _rows(place: Path, columns: list[str] | None = None) -> pa.Table:
    return pa.concat_tables([parts.read(path, columns) for path in parts.files(place)])


def _covers(source: Source, first: date, now: datetime) -> bool:
    return datetime.combine(first, time(), UTC) <= now - timedelta(days=source.windows.train)


def _with(source: Source, as_of: datetime | None, covered: bool) -> Source:
    facts = {name: getattr(source, name) for name in source.__slots__}
    return Source(**facts | {"as_of": as_of, "has_impressions": source.has_impressions or covered})
