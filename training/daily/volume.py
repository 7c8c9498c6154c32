"""Whether a day's rows are usual: counted by day, judged against the median of the days before."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from training.daily.errors import BadDayError

Counts = Mapping[date, int]
DAY = "day="  # of a folder that holds one day of a table
LOGS = ("events", "impressions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A day has between `least` and `most` times the median rows of the `window` days before, and at least the share
    `clean` of them clean. A history shorter than `enough` days says nothing.
    """

    least: float = 0.2
    most: float = 5.0
    clean: float = 0.8
    window: int = 28
    enough: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.least < 1 < self.most:
            raise ValueError(f"limits {self.least:g} and {self.most:g}: the least is below 1, the most above")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of a table by day: now, and when a run last found them good."""

    table: str
    now: Counts
    before: Counts

    def usual(self, day: date, limits: Limits) -> float | None:
        """The median of the days with rows before `day`; None when they are too few."""
        earlier = [self.now.get(day - timedelta(days=n), 0) for n in range(1, limits.window + 1)]
        held = [rows for rows in earlier if rows]
        return float(median(held)) if len(held) >= limits.enough else None

    @property
    def changed(self) -> list[date]:
        """Days that are new or have other rows than before, in order."""
        return sorted(day for day, rows in self.now.items() if rows != self.before.get(day))


def require_usual(rows: Rows, day: date, limits: Limits, complete: bool, allowed: Collection[date]) -> None:
    """Raise BadDayError for a complete `day` with too few rows, and for `day` or a changed one with too many."""
    found, usual = rows.now.get(day, 0), rows.usual(day, limits)
    if complete and day not in allowed:
        if not found:
            newest = max((d for d, n in rows.now.items() if n), default=None)
            raise BadDayError(f"{day}: no {rows.table}{_expected(usual)}; the newest day that has any is {newest}")
        if usual is not None and found < limits.least * usual:
            raise BadDayError(f"{day}: {found} {rows.table}{_expected(usual)}, at least {limits.least:g} × that")
    for other in sorted({day, *(rows.changed if rows.before else ())}):
        found, usual = rows.now.get(other, 0), rows.usual(other, limits)
        if usual is not None and found > limits.most * usual and other not in allowed:
            raise BadDayError(
                f"{other}: {found} {rows.table}{_expected(usual)}, at most {limits.most:g} × that; mend the "
                f"day, or say --allow-day {other} where it is right"
            )


def require_clean(table: str, raw: Counts, clean: Counts, day: date, limits: Limits, allowed: Collection[date]) -> None:
    """Raise BadDayError when too few of the day's rows are clean: a producer changed its schema."""
    read, held = raw.get(day, 0), clean.get(day, 0)
    if read and held < limits.clean * read and day not in allowed:
        raise BadDayError(
            f"{day}: {held} of {read} {table} are clean, at least {limits.clean:.0%} were expected; the quarantine of "
            "the validation report says why"
        )


def rows_by_day(folder: Path) -> dict[date, int]:
    """Rows of a table by the day of their folder, or else of their timestamp; rows without one are not counted."""
    counts: Counter[date] = Counter()
    for path in sorted(folder.rglob("*.parquet") if folder.is_dir() else ()):
        day = next((part.removeprefix(DAY) for part in path.parts if part.startswith(DAY)), None)
        if day is not None:
            counts[date.fromisoformat(day)] += pq.read_metadata(path).num_rows
        else:
            counts.update(_dated(path))
    return dict(counts)


def _dated(path: Path) -> Counter[date]:
    counts: Counter[date] = Counter()
    source = ds.dataset(path, format="parquet")
    if not pa.types.is_timestamp(source.schema.field("timestamp").type):
        return counts
    for batch in source.to_batches(columns=["timestamp"]):
        for entry in pc.value_counts(pc.cast(batch["timestamp"], pa.date32(), safe=False)).to_pylist():
            if entry["values"] is not None:
                counts[entry["values"]] += entry["counts"]
    return counts


def _expected(usual: float | None) -> str:
    return f", the days before have {usual:g}" if usual is not None else ""
