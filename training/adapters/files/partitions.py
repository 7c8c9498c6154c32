"""What earlier runs have read, stored beside the raw tables and published with them: so a run reads only what is new.

A day is read when it is new, when its files changed, and always within the overlap before the newest day, because
events arrive late and a store's times of change are coarse. A day that the source no longer holds stays, unless it
lies within the overlap or everything is read again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson
import pyarrow.parquet as pq

from training.adapters.canonical import SCHEMAS
from training.adapters.files.layout import Layout, fingerprint

FILE = "partitions.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One day of a table as it was read; `latest` is its largest timestamp, unix µs."""

    fingerprint: str
    rows: int
    latest: int | None


Partitions = Mapping[str, Partition]  # by day


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do with a table's days, all sorted."""

    read: Sequence[str]
    keep: Sequence[str]

    @property
    def missing(self) -> list[str]:
        """Calendar days between the first and the last one that nothing is known of."""
        held = {date.fromisoformat(day) for day in (*self.read, *self.keep)}
        span = (max(held) - min(held)).days
        between = (min(held) + timedelta(days=n) for n in range(span))
        return [day.isoformat() for day in between if day not in held]


def plan(layout: Layout, known: Partitions, overlap: int) -> Plan:
    """Which days to read and which to keep; `known` is empty when everything is read again."""
    newest = date.fromisoformat(max(layout.days))
    late = (newest - timedelta(days=overlap)).isoformat()
    read = [
        day for day, files in layout.days.items()
        if day >= late or day not in known or known[day].fingerprint != fingerprint(files)
    ]  # fmt: skip
    keep = [day for day in known if day not in read and day < late]
    return Plan(read=sorted(read), keep=sorted(keep))


def measure(folder: Path, files_fingerprint: str) -> Partition:
    """Rows and the largest timestamp of a written folder, from its Parquet footers."""
    footers = [pq.read_metadata(path) for path in folder.glob("*.parquet")]
    latest = [value for footer in footers for value in _largest(footer)]
    rows = sum(footer.num_rows for footer in footers)
    return Partition(fingerprint=files_fingerprint, rows=rows, latest=max(latest, default=None))


def _largest(footer: pq.FileMetaData) -> list[int]:
    groups = [footer.row_group(n) for n in range(footer.num_row_groups)]
    columns = [group.column(n) for group in groups for n in range(group.num_columns)]
    moments = [c for c in columns if c.path_in_schema == "timestamp" and c.physical_type == "INT64"]  # not as text
    statistics = [c.statistics for c in moments if c.is_stats_set]
    return [int(s.max_raw) for s in statistics if s.has_min_max]


def moment(micros: int) -> datetime:
    """Unix µs as a moment."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros)


def read(raw: Path) -> dict[str, Partitions]:
    """Partitions by table; none when nothing was read before, or with other canonical columns."""
    try:
        stored = orjson.loads((raw / FILE).read_bytes())
    except FileNotFoundError:
        return {}
    if stored["columns"] != _columns():
        return {}
    return {table: {day: Partition(**facts) for day, facts in days.items()} for table, days in stored["tables"].items()}


def write(folder: Path, tables: Mapping[str, Partitions]) -> None:
    """Store the partitions by table."""
    stored = {table: {day: asdict(one) for day, one in sorted(days.items())} for table, days in tables.items()}
    document = {"columns": _columns(), "tables": stored}
    (folder / FILE).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _columns() -> str:
    """Changes with the canonical columns: what was written with others is read again."""
    text = "\n".join(f"{table} {schema.to_string()}" for table, schema in SCHEMAS.items())
    return hashlib.sha256(text.encode()).hexdigest()[:16]
