"""Folder → settings.raw, incremental by day, with Spark.

Events and impressions lie in `raw/<table>/day=YYYY-MM-DD/` when the source has days. Days that are kept are hard links
to the files of the run before, so a run writes only what it read and yet replaces all of raw in one step: killed
anywhere, the old tables stand and the next run does it again.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as fn

from deploy.settings import Settings
from training.adapters.canonical import SCHEMAS
from training.adapters.files import OVERLAP, partitions
from training.adapters.files.declaration import declared
from training.adapters.files.layout import WHOLE, Layout, find, fingerprint
from training.adapters.files.partitions import Partitions, Plan, measure, plan
from training.adapters.files.shapes import shapes
from training.adapters.files.storage import File, Storage
from training.adapters.files.typed import typed, unreadable
from training.adapters.publish import link, publish
from training.adapters.source import FILE, Source, now_of, write_source
from training.errors import DataError
from training.served.merge import Merge

LOGS = ("events", "impressions")
SNAPSHOTS = ("items", "users")
DAY = "day"
PATH = "__path__"
DAY_OF_PATH = r".*/(?:[A-Za-z_]+=)?(\d{4}-\d{2}-\d{2})/"
FAILED_FILE = re.compile(r"Encountered error while reading file (\S.*?)\.\s+SQLSTATE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run's session, source and folders, and what it has done so far by table."""

    spark: SparkSession
    storage: Storage
    previous: Path
    target: Path
    known: Mapping[str, Partitions]
    overlap: int
    done: dict[str, Partitions] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)


def ingest(
    spark: SparkSession, settings: Settings, full: bool = False, overlap: int = OVERLAP, merge: Merge | None = None
) -> dict[str, Any]:
    """Bring settings.raw up to date; returns rows by table and, under `days`, what was read and kept.

    `full` reads every day again; `overlap` is how many days before the newest are read again in any case; `merge` adds
    what serving logged. Raises DataError, then nothing changed.
    """
    if settings.data is None:
        raise DataError("setting data: not given; set TRIDENT_DATA to the folder with the source's files")
    storage = Storage(spark, settings.data)
    layouts = _layouts(storage)
    source = _source(storage, layouts)
    with publish(settings.raw) as target:
        run = Run(
            spark=spark, storage=storage, previous=settings.raw, target=target, overlap=overlap,
            known={} if full else partitions.read(settings.raw),
        )  # fmt: skip
        for table in LOGS:
            _log(run, table, layouts.get(table))
        declared = source.as_of is not None
        source = source.at(source.as_of or _latest(run))
        if merge is not None:
            source = merge(target, source, pinned=declared)
        for table in SNAPSHOTS:
            _snapshot(run, table, layouts[table], source.as_of)
        rows = {table: sum(one.rows for one in days.values()) for table, days in run.done.items()}
        write_source(target, source, rows)
        partitions.write(target, {table: run.done[table] for table in run.plans})
    return rows | _days(run)


def _layouts(storage: Storage) -> dict[str, Layout]:
    names = storage.names()
    found = {table: find(storage, table, names) for table in (*LOGS, *SNAPSHOTS)}
    for table in ("events", *SNAPSHOTS):
        if found[table] is None:
            raise DataError(f"{storage.root}/{table}: missing; the folder holds {', '.join(names[:8]) or 'nothing'}")
    return {table: layout for table, layout in found.items() if layout is not None}


def _source(storage: Storage, layouts: Mapping[str, Layout]) -> Source:
    content = storage.read(FILE) if FILE in storage.names() else None
    return declared(content, storage.root, "impressions" in layouts)


def _log(run: Run, table: str, layout: Layout | None) -> None:
    """Events or impressions: all of them, or the days that the plan says."""
    if layout is None or not layout.dated:
        _whole(run, table, layout.days[WHOLE] if layout else [])
        return
    run.plans[table] = steps = plan(layout, run.known.get(table, {}), run.overlap)
    for day in steps.keep:
        if run.known[table][day].rows:
            link(run.previous / table / f"{DAY}={day}", run.target / table / f"{DAY}={day}")
    _write(run, table, [file for day in steps.read for file in layout.days[day]], by_day=True)
    fresh = {day: measure(run.target / table / f"{DAY}={day}", fingerprint(layout.days[day])) for day in steps.read}
    run.done[table] = {day: run.known[table][day] for day in steps.keep} | fresh
    _settle(run, table)


def _snapshot(run: Run, table: str, layout: Layout, as_of: datetime | None) -> None:
    """Users or items: the newest snapshot that as_of knows."""
    assert as_of is not None
    _whole(run, table, layout.days[layout.snapshot(as_of.date())])


def _whole(run: Run, table: str, files: Sequence[File]) -> None:
    _write(run, table, files, by_day=False)
    run.done[table] = {WHOLE: measure(run.target / table, fingerprint(files))}
    _settle(run, table)


def _settle(run: Run, table: str) -> None:
    """A table without rows is still one."""
    folder = run.target / table
    if not any(folder.rglob("*.parquet")):
        folder.mkdir(exist_ok=True)
        pq.write_table(SCHEMAS[table].empty_table(), folder / "part-0.parquet")


def _write(run: Run, table: str, files: Sequence[File], by_day: bool) -> None:
    """Rows of the canonical types; where there are any, rows that have a value of another, in a file of their own."""
    for shape, alike in shapes(run.spark, run.storage, table, files).items():
        rows = shape.read(run.spark, alike).withColumn(PATH, fn.col("_metadata.file_path"))
        columns = typed(rows, table, shape, alike[0].path)
        fits = ~reduce(or_, (column.lost for column in columns))
        seen = Observation()
        broken = fn.min(fn.when(unreadable(shape), fn.col(PATH))).alias(PATH)
        watched = rows.observe(seen, broken, *(fn.count_if(c.lost).alias(c.name) for c in columns))
        _append(run, table, watched.filter(fits), {c.name: c.value for c in columns}, by_day, alike)
        if seen.get[PATH]:
            raise DataError(f"{seen.get[PATH]}: cannot be read as CSV: a value is not UTF-8")
        if any(seen.get[c.name] for c in columns):
            texts = {c.name: c.text if seen.get[c.name] else c.value for c in columns}
            _append(run, table, rows.filter(~fits), texts, by_day, alike)


def _append(
    run: Run, table: str, rows: DataFrame, columns: Mapping[str, Column], by_day: bool, files: Sequence[File]
) -> None:
    day = [fn.regexp_extract(PATH, DAY_OF_PATH, 1).alias(DAY)] if by_day else []
    named = [column.alias(name) for name, column in columns.items()]
    writer = rows.select(*named, *day).write.mode("append").partitionBy(*([DAY] if by_day else []))
    try:
        writer.parquet(str(run.target / table))
    except (Py4JJavaError, PySparkException) as error:
        raise _unreadable(str(error), files) from None


def _unreadable(said: str, files: Sequence[File]) -> DataError:
    """The file that Spark could not read; anything else it says is not about the data and goes up."""
    found = FAILED_FILE.search(said)
    where = found[1] if found else f"{files[0].path} and {len(files) - 1} more"
    cause = re.findall(r"Caused by: [\w.$]*\.(\w+(?:: [^\n]*)?)", said)
    return DataError(f"{where}: cannot be read: {(cause or [said])[-1][:200]}")


def _latest(run: Run) -> datetime:
    moments = [one.latest for days in run.done.values() for one in days.values() if one.latest is not None]
    if not moments:
        raise DataError("events: column timestamp: no value in any row, so there is no moment to call now")
    return now_of(partitions.moment(max(moments)).astimezone(UTC))


def _days(run: Run) -> dict[str, Any]:
    days = {
        table: {
            "read": len(steps.read), "kept": len(steps.keep), "missing": steps.missing,
            "empty": sorted(day for day, one in run.done[table].items() if not one.rows),
        } for table, steps in run.plans.items()
    }  # fmt: skip
    return {"days": days} if days else {}
