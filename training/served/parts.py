"""Files of the collected log: `served/<table>/day=YYYY-MM-DD/<batch>-<first id>-<last id>.parquet`.

A file appears under its name when all of it is on disk. A day that is over becomes one file.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from training.adapters.publish import publish, restore
from training.lock import held
from training.served.entries import TABLES, Row, identity

DAY = "day="
NUMBERED = "[0-9]" * 10 + "-*"
DRAFT = ".draft-"
SWAP = "swap.lock"
SWAP_WAIT_S = 600.0
ROWS = 131_072  # of a row group
CODEC = "zstd"


def part_name(batch: int, first: str, last: str, suffix: str) -> str:
    """Name of a batch's file."""
    return f"{batch:010d}-{first}-{last}.{suffix}"


def batch_of(path: Path) -> int:
    """The batch that a file belongs to; of a whole day's file the newest in it."""
    return int(path.name.partition("-")[0])


def write_part(folder: Path, table: str, day: date, name: str, rows: Sequence[Row]) -> None:
    """Write a batch's rows of a day."""
    content = pa.Table.from_pylist(list(rows), schema=TABLES[table])
    path = folder / table / f"{DAY}{day}" / name
    write_durably(path, lambda file: pq.write_table(content, file, compression=CODEC))


def write_durably(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """The file is there whole, and stays through a power cut, or is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{DRAFT}{path.name}.tmp")
    with draft.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    _sync(path.parent)


def days(folder: Path, table: str) -> dict[date, Path]:
    """The folders of a table's days, in order."""
    found = sorted((folder / table).glob(f"{DAY}????-??-??"))
    return {date.fromisoformat(path.name.removeprefix(DAY)): path for path in found}


def files(day: Path) -> list[Path]:
    """A day's files in the order of their batches."""
    return sorted(day.glob(f"{NUMBERED}.parquet"))


def drop_uncommitted(folder: Path, batch: int) -> int:
    """Remove what a killed run left of batches beyond `batch`, and its drafts; returns how many files."""
    for aside in folder.glob(f"*/{DAY}*.previous"):  # killed about the two renames of a day's file
        restore(aside.with_suffix(""))
        shutil.rmtree(aside, ignore_errors=True)
    for unfinished in folder.glob(f"*/{DAY}*.partial"):
        shutil.rmtree(unfinished)
    left = [path for path in folder.rglob(NUMBERED) if batch_of(path) > batch] + list(folder.rglob(f"{DRAFT}*"))
    for path in left:
        path.unlink()
    return len(left)


@contextmanager
def unmoved(folder: Path) -> Iterator[None]:
    """No day becomes one file meanwhile."""
    with held(folder / SWAP, SWAP_WAIT_S):
        yield


def compact(folder: Path, until: date | None) -> int:
    """Make one file of each day before `until` (None: of every day) that has several; returns how many days."""
    compacted = 0
    for table in TABLES:
        for day, place in days(folder, table).items():
            if (until is None or day < until) and len(files(place)) > 1:
                with unmoved(folder):
                    _one_file(place, table)
                compacted += 1
    return compacted


def _one_file(place: Path, table: str) -> None:
    """All rows of the day in their order; of events that came twice the first."""
    parts = files(place)
    name = f"{batch_of(parts[-1]):010d}-day.parquet"
    with publish(place) as partial:
        with (partial / name).open("wb") as file:
            with pq.ParquetWriter(file, TABLES[table], compression=CODEC) as writer:
                for rows in _gathered(_once(table, map(read, parts))):
                    writer.write_table(rows, ROWS)
            file.flush()
            os.fsync(file.fileno())
        _sync(partial)
    _sync(place.parent)


def _once(table: str, parts: Iterator[pa.Table]) -> Iterator[pa.Table]:
    seen: set[str] = set()
    for part in parts:
        if table != "events":
            yield part
            continue
        fresh = []
        for one in _identities(part):
            fresh.append(one not in seen)
            seen.add(one)
        yield part.filter(pa.array(fresh))


def _gathered(parts: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in fewer, larger tables."""
    waiting: list[pa.Table] = []
    for part in parts:
        waiting.append(part)
        if sum(table.num_rows for table in waiting) >= ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A file's rows; the day in its path is no column."""
    return pq.read_table(path, columns=columns, partitioning=None)


def newest_identities(folder: Path, most: int) -> list[str]:
    """Identities of the events collected last, at most so many, oldest first."""
    parts = sorted((path for place in days(folder, "events").values() for path in files(place)), key=batch_of)
    found: list[list[str]] = []
    for path in reversed(parts):
        if sum(map(len, found)) >= most:
            break
        found.append(_identities(read(path, ["user_id", "event_id"])))
    return [one for part in reversed(found) for one in part][-most:]


def _identities(events: pa.Table) -> list[str]:
    return [identity(*ids) for ids in zip(*(events[n].to_pylist() for n in ("user_id", "event_id")), strict=True)]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
