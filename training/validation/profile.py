"""What the written files say of a table without reading a row: rows by reason, missing values by column."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from training.adapters.canonical import SCHEMAS
from training.validation.rules import CLEAN, reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One table: rows by reason, and by column the clean rows without a value (a list without one counts as well)."""

    counts: dict[str, int]
    missing: dict[str, int]

    @property
    def rows(self) -> int:
        """All rows that came in."""
        return sum(self.counts.values())

    @property
    def clean(self) -> int:
        """Rows that broke no rule."""
        return self.counts[CLEAN]

    @property
    def rejected(self) -> dict[str, int]:
        """Rows by the rule they broke, without the rules that nothing broke."""
        return {reason: n for reason, n in sorted(self.counts.items()) if n and reason != CLEAN}

    @property
    def quality(self) -> float:
        """Clean rows of all rows; 1 for an empty table."""
        return self.clean / self.rows if self.rows else 1.0


def profile(name: str, parts: Path) -> Profile:
    """The profile of a table whose rows lie in `reason=…` below `parts`; from the footers of the files."""
    known = {reason: _footers(parts / f"reason={reason}") for reason in (CLEAN, *reasons(name))}
    counts = {reason: sum(footer.num_rows for footer in footers) for reason, footers in known.items()}
    nulls = _nulls(known[CLEAN])
    missing = {column: min(nulls[column], counts[CLEAN]) for column in SCHEMAS[name].names}
    return Profile(counts=counts, missing=missing)


def _footers(folder: Path) -> list[pq.FileMetaData]:
    return [pq.read_metadata(path) for path in folder.glob("*.parquet")]


def _nulls(footers: Iterable[pq.FileMetaData]) -> Counter[str]:
    nulls: Counter[str] = Counter()
    for footer in footers:
        for group in (footer.row_group(n) for n in range(footer.num_row_groups)):
            for column in (group.column(n) for n in range(group.num_columns)):
                nulls[column.path_in_schema.split(".")[0]] += column.statistics.null_count
    return nulls
