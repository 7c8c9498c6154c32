"""Which files make which table: one file, a folder of files, or a folder of days; snapshots of users and items.

    events.csv                          one file (.parquet, .csv, .csv.gz)
    events/*.parquet                    one folder
    events/date=2026-01-31/*.parquet    days; also events/2026-01-31/, and hours below a day
"""  # fmt: skip

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from training.adapters.files.storage import File, Storage
from training.errors import DataError

SUFFIXES = (".parquet", ".csv", ".csv.gz")
DAY = re.compile(r"(?:[A-Za-z_]+=)?(\d{4}-\d{2}-\d{2})")
HOUR = re.compile(r"(?:[A-Za-z_]+=)?\d{1,2}")
WHOLE = ""  # the key of a table without days


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A table's files by day, `YYYY-MM-DD`, or all of them under `WHOLE`."""

    path: str
    days: Mapping[str, Sequence[File]]

    @property
    def dated(self) -> bool:
        """Whether the table comes in days."""
        return WHOLE not in self.days

    def snapshot(self, until: date) -> str:
        """The newest day not after `until`. Raises DataError when all are later."""
        if not self.dated:
            return WHOLE
        held = [day for day in self.days if day <= until.isoformat()]
        if not held:
            raise DataError(
                f"{self.path}: {len(self.days)} snapshots, the first of {min(self.days)}, none at or before as_of "
                f"{until}; add an earlier one or declare as_of in source.json"
            )
        return max(held)


def find(storage: Storage, table: str, names: Sequence[str]) -> Layout | None:
    """Where a table lies among the names in the source's folder. Raises DataError when it lies in two places."""
    found = [name for name in (table, *(f"{table}{suffix}" for suffix in SUFFIXES)) if name in names]
    if len(found) > 1:
        raise DataError(f"{storage.root}: table {table} is there twice, {' and '.join(found)}; keep one")
    return _layout(f"{storage.root}/{found[0]}", storage.files(found[0])) if found else None


def fingerprint(files: Sequence[File]) -> str:
    """Changes when a file is added, removed, resized or written again."""
    facts = "\n".join(f"{file.name} {file.size} {file.changed}" for file in files)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _layout(path: str, found: Sequence[File]) -> Layout:
    days: dict[str, list[File]] = {}
    for file in (f for f in found if f.path.endswith(SUFFIXES)):
        days.setdefault(_day(path, file.name), []).append(file)
    if not days:
        raise DataError(f"{path}: holds 0 files named *{', *'.join(SUFFIXES)}")
    if WHOLE in days and len(days) > 1:
        raise DataError(
            f"{path}: {len(days[WHOLE])} files lie beside the days, first {days[WHOLE][0].name}; move them into a day"
        )
    return Layout(path=path, days=days)


def _day(path: str, name: str) -> str:
    folders = name.split("/")[:-1]
    if not folders:
        return WHOLE
    day, hours = DAY.fullmatch(folders[0]), folders[1:]
    if day is None or not all(HOUR.fullmatch(hour) for hour in hours):
        raise DataError(f"{path}: folder {'/'.join(folders)}: only days are read, date=YYYY-MM-DD or YYYY-MM-DD")
    try:
        return date.fromisoformat(day[1]).isoformat()
    except ValueError:
        raise DataError(f"{path}: folder {folders[0]}: no such day") from None
