"""Clean tables → vocabularies, contents, examples, pairs, and the snapshots that would have served them.

    tables ── codes, contents ── actions, item-days ──┬── examples, pairs ── which (key, day) are needed
                                                      └── user and item snapshots of exactly those, of everyone at
                                                          the windows' starts, of everyone through as_of (the final)

What several stages read (actions, item-days) goes to Parquet beside the output and is removed at the end: memory
stays bounded whatever the size.
"""  # fmt: skip

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as fn

from deploy.settings import Settings
from feature_repo.schema import SCHEMA
from training.adapters.publish import publish
from training.adapters.source import Source, read_source
from training.content import basis
from training.content.write import CONTENT, write_content
from training.errors import DataError
from training.pipeline import vocabulary
from training.pipeline.actions import actions, item_days, with_codes, with_content
from training.pipeline.clock import day_of, snapshot_at
from training.pipeline.examples import examples, pairs
from training.pipeline.items import item_snapshots
from training.pipeline.snapshots import request, write_snapshots
from training.pipeline.split import boundaries
from training.pipeline.users import user_snapshots

SPLITS = "splits.json"
WORK = ".work"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Clean tables as features need them; `days` as of `actions.item_days`."""

    actions: DataFrame
    days: DataFrame
    impressions: DataFrame
    items: DataFrame
    users: DataFrame


def features(spark: SparkSession, settings: Settings, new_codes: bool = False) -> dict[str, Any]:
    """Write settings.features; returns what splits.json says. Raises DataError when nothing was validated.

    Codes and content bases of the features there are stay, unless `new_codes` are asked for: lines that were trained
    before can then neither be refreshed nor judged again.
    """
    require_tables(settings)
    source = read_source(settings.raw)
    with publish(settings.features) as folder:
        previous = None if new_codes else _previous(settings.features)
        if previous is not None:
            shutil.copyfile(previous / basis.FILE, folder / basis.FILE)
        content = write_content(settings.tables / "items", folder / CONTENT, settings.title_cache, folder)
        tables = read_tables(spark, settings.tables, folder, previous)
        by_split = {
            "examples": examples(source, tables.actions, tables.days, tables.impressions, tables.items, settings.seed),
            "pairs": pairs(source, tables.days),
        }
        labelled, positives = (_written(rows, folder / name) for name, rows in by_split.items())
        _write_snapshots(source, tables, _used(labelled).union(_used(positives)), folder)
        document = _document(source, _counts(labelled, positives)) | {"titles": asdict(content)}
        (folder / SPLITS).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        shutil.rmtree(folder / WORK)
        spark.catalog.clearCache()
    return document


def _written(rows: DataFrame, path: Path) -> DataFrame:
    """The rows, written and read back."""
    rows.write.parquet(str(path))
    return rows.sparkSession.read.parquet(str(path))


def require_tables(settings: Settings) -> None:
    """Raises DataError when nothing was validated."""
    if not settings.tables.exists():
        raise DataError(f"{settings.tables}: missing; run `python -m training validate` first")


def _previous(folder: Path) -> Path | None:
    """Features computed before by this schema, whose codes and content bases are kept."""
    path = folder / SPLITS
    return folder if path.exists() and orjson.loads(path.read_bytes())["schema"] == SCHEMA.hash else None


def read_tables(spark: SparkSession, folder: Path, output: Path, previous: Path | None) -> Tables:
    """Clean tables with codes, contents and days; the vocabularies and what several stages read go to `output`."""
    events, impressions, items, users = (
        spark.read.parquet(str(folder / name)) for name in ("events", "impressions", "items", "users")
    )
    words = vocabulary.build(items)
    if previous is not None:
        words = vocabulary.inherited(words, vocabulary.load(previous))
    words.save(output)
    coded = with_content(with_codes(items, words), spark.read.parquet(str(output / CONTENT))).persist()
    acted = _written(actions(events, coded), output / WORK / "actions")
    return Tables(
        actions=acted,
        days=_written(item_days(acted), output / WORK / "days"),
        impressions=impressions.withColumn("day", day_of("timestamp")),
        items=coded,
        users=users,
    )


def _used(rows: DataFrame) -> DataFrame:
    """The pairs of keys and days that rows need; users and items are served by snapshots of the same day."""
    return rows.select("user_id", "item_id", day_of("user_snapshot").alias("day"))


def _write_snapshots(source: Source, tables: Tables, used: DataFrame, folder: Path) -> None:
    at = boundaries(source)
    starts = (at.validation_start, at.test_start)
    born = tables.items.select("item_id", "born")
    users = request(used, tables.users.select("user_id"), "user_id", starts, at.as_of)
    items = request(used, born, "item_id", starts, at.as_of)
    by_user = user_snapshots(source, users, tables.actions, tables.days, tables.impressions, tables.users)
    by_item = item_snapshots(source, items, tables.actions, tables.days, tables.impressions, tables.items)
    write_snapshots(by_user, folder / "user_snapshots")
    write_snapshots(by_item, folder / "item_snapshots")


def _counts(labelled: DataFrame, positives: DataFrame) -> dict[str, dict[str, int]]:
    rows = labelled.groupBy("split").agg(
        fn.count("*").alias("examples"), fn.sum("clicked").alias("clicked"), fn.sum("purchased").alias("purchased")
    )
    counts = {row["split"]: row.asDict() for row in rows.collect()}
    for row in positives.groupBy("split").agg(fn.count("*").alias("pairs")).collect():
        counts.setdefault(row["split"], {}).update(row.asDict())
    return {split: {k: v for k, v in row.items() if k != "split"} for split, row in sorted(counts.items())}


def _document(source: Source, counts: dict[str, dict[str, int]]) -> dict[str, Any]:
    at = boundaries(source)
    return {
        "source": source.name,
        "as_of": at.as_of,
        "boundaries": asdict(at),
        "snapshots": {
            "validation": snapshot_at(at.validation_start),
            "test": snapshot_at(at.test_start),
            "final": at.as_of,
        },
        "has_impressions": source.has_impressions,
        "minimum_positives": source.minimum_positives,
        "counts": counts,
        "schema": SCHEMA.hash,
        "features": SCHEMA.counts(),
    }
