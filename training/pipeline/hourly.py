"""The hourly path: the catalogue as of now, between two daily runs: popularity, trending, metadata, new items.

    raw (ingested again) ── items ── clean table, contents in the line's bases
                         └─ events and impressions since the daily run's last midnight ┐
    tables (the daily run's), everything before ───────────────────────────────────────┴── item snapshots as of now

Codes and text components are those of the daily run, because the lines that serve were trained on them. What arrives
late for a day before that midnight waits for the next daily run. Users are daily.
"""  # fmt: skip

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as fn

from deploy.settings import Settings
from feature_repo.schema import SCHEMA
from feature_repo.store import HOURLY, as_of
from training.adapters.publish import publish
from training.adapters.source import Source, read_source
from training.content.write import CONTENT, write_content
from training.errors import DataError
from training.pipeline import vocabulary
from training.pipeline.actions import actions, item_days, with_codes, with_content
from training.pipeline.clock import day_of, midnight_before
from training.pipeline.items import item_snapshots
from training.pipeline.snapshots import final_request, write_snapshots
from training.validation.read import read_raw
from training.validation.report import MINIMUM_QUALITY
from training.validation.rules import CHECKS, CLEAN, judge

SNAPSHOTS = "item_snapshots"
PREFIX = "hourly-"


def hourly(spark: SparkSession, settings: Settings) -> dict[str, Any]:
    """Bring the catalogue up to date; returns as_of, items, new items and the rows that are fresh.

    Raises DataError when there was no daily run, or nothing newer was ingested; nothing changed then.
    """
    source, daily = read_source(settings.raw), as_of(settings)
    if source.as_of is None or source.as_of <= daily:
        raise DataError(f"{settings.raw}: as_of {source.as_of} is not after the features' {daily}; ingest what is new")
    counts = _catalogue(spark, settings, source)
    items = _contents(spark, settings)
    counts |= _snapshots(spark, settings, source, midnight_before(daily), items)
    document = {"as_of": source.as_of, **counts, "schema": SCHEMA.hash}
    (settings.features / HOURLY).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    spark.catalog.clearCache()
    return document


def _clean(
    spark: SparkSession, settings: Settings, name: str, source: Source, since: datetime | None = None
) -> DataFrame:
    """The clean rows of a raw table, those since a moment."""
    rows = read_raw(spark, settings.raw / name, name).rows
    if since is not None:
        rows = rows.filter(fn.col("timestamp") >= fn.lit(since))
    known = {key: _known(spark, settings, table, source).select(key) for table, key in CHECKS[name].references}
    return judge(rows, name, source, known).filter(fn.col("reason") == CLEAN).drop("reason")


def _known(spark: SparkSession, settings: Settings, name: str, source: Source) -> DataFrame:
    """Valid rows others may refer to: the items just replaced, and users judged again, because new ones act as well."""
    stored = settings.tables / name
    return spark.read.parquet(str(stored)) if name == "items" else _clean(spark, settings, name, source)


def _catalogue(spark: SparkSession, settings: Settings, source: Source) -> dict[str, int]:
    """Replace the clean items; returns how many there are and how many are new. Raises DataError below the quality."""
    known = spark.read.parquet(str(settings.tables / "items")).select("item_id")
    found = read_raw(spark, settings.raw / "items", "items")
    rows = found.rows.count() + (found.malformed.count() if found.malformed is not None else 0)
    with publish(settings.tables / "items") as folder:
        _clean(spark, settings, "items", source).write.mode("overwrite").parquet(str(folder))
        items = spark.read.parquet(str(folder))
        clean = items.count()
        if not clean or clean < MINIMUM_QUALITY * rows:
            raise DataError(
                f"{settings.raw / 'items'}: {clean} of {rows} rows are clean, below {MINIMUM_QUALITY:.0%}; "
                "`python -m training validate` says why"
            )
        return {"items": clean, "new_items": items.join(known, "item_id", "left_anti").count()}


def _contents(spark: SparkSession, settings: Settings) -> DataFrame:
    """Items with codes and contents, both by what the daily run fixed."""
    words = vocabulary.load(settings.features)
    with publish(settings.features / CONTENT) as folder:
        write_content(settings.tables / "items", folder, settings.title_cache, settings.features)
        now, before = (spark.read.parquet(str(path)) for path in (folder, settings.features / CONTENT))
        gone = before.join(now.select("item_id"), "item_id", "left_anti")  # earlier snapshots still need theirs
        gone.write.mode("append").parquet(str(folder))
    coded = with_codes(spark.read.parquet(str(settings.tables / "items")), words)
    return with_content(coded, spark.read.parquet(str(settings.features / CONTENT))).persist()


def _snapshots(
    spark: SparkSession, settings: Settings, source: Source, since: datetime, items: DataFrame
) -> dict[str, int]:
    """Add every item's snapshot as of now to the offline store; returns the fresh rows by table."""
    fresh = {name: _clean(spark, settings, name, source, since).persist() for name in ("events", "impressions")}
    events, impressions = (
        spark.read.parquet(str(settings.tables / name)).filter(fn.col("timestamp") < fn.lit(since)).unionByName(rows)
        for name, rows in fresh.items()
    )
    acted = actions(events, items).persist()
    assert source.as_of is not None
    asked = final_request(items, "item_id", source.as_of)
    shown = impressions.withColumn("day", day_of("timestamp"))
    rows = item_snapshots(source, asked, acted, item_days(acted), shown, items)
    _append(rows, settings.features / SNAPSHOTS, f"{PREFIX}{int(source.as_of.timestamp())}-")
    return {f"fresh_{name}": table.count() for name, table in fresh.items()}


def _append(rows: DataFrame, folder: Path, prefix: str) -> None:
    """Put the rows' files into a finished folder; what an earlier try left under the prefix is replaced."""
    draft = folder.with_name(".hourly")
    shutil.rmtree(draft, ignore_errors=True)
    write_snapshots(rows, draft)
    for left in folder.glob(f"{prefix}*"):
        left.unlink()
    for part in draft.glob("*.parquet"):
        part.rename(folder / f"{prefix}{part.name}")
    shutil.rmtree(draft)
