"""Raw tables → clean tables, a quarantine with reasons, and a report.

Rules: schema, null keys, duplicates, future and too old, event types, orphans. The first rule a row breaks is its
reason. Below `MINIMUM_QUALITY` in any table nothing is published and the run stops, unless told otherwise.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow.dataset as ds
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as fn

from deploy.settings import Settings
from training.adapters.canonical import EVENT_TYPES
from training.adapters.publish import publish
from training.adapters.source import Source, read_source
from training.errors import DataError
from training.pipeline.anomalies import anomalies
from training.pipeline.enforce import MALFORMED, enforce

MINIMUM_QUALITY = 0.95
OLDEST = timedelta(days=730)
REPORT = "report.json"
CLEAN = "clean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """Which columns the rules look at in one table."""

    identity: tuple[str, ...]  # must not be null
    duplicate: tuple[str, ...]  # rows equal in these are one
    moment: str | None = None  # rejected when later than as_of
    ages: bool = False  # rejected when older than two years
    orphans: bool = False


CHECKS = {
    "users": Checks(identity=("user_id",), duplicate=("user_id",)),
    "items": Checks(identity=("item_id",), duplicate=("item_id",), moment="created_at"),
    "events": Checks(
        identity=("user_id", "item_id", "timestamp"),
        duplicate=("user_id", "item_id", "event_type", "timestamp"),
        moment="timestamp", ages=True, orphans=True,
    ),
    "impressions": Checks(
        identity=("request_id", "user_id", "item_id", "timestamp"),
        duplicate=("request_id", "item_id"),
        moment="timestamp", ages=True, orphans=True,
    ),
}  # fmt: skip


def validate(spark: SparkSession, settings: Settings, allow_low_quality: bool = False) -> dict[str, Any]:
    """Write settings.tables; returns the report. Raises DataError when the quality is too low.

    `quarantine/<table>` exists where rows of the table were rejected.
    """
    source = read_source(settings.raw)
    with publish(settings.tables) as folder:
        (folder / "quarantine").mkdir()
        tables = {name: _table(spark, settings.raw, name, folder, source) for name in CHECKS}
        report = _report(source, tables)
        report["anomalies"] = anomalies(spark.read.parquet(str(folder / "events")))
        (folder / REPORT).write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
        if not allow_low_quality:
            _stop_below_minimum(settings.raw, report)
    return report


def _table(spark: SparkSession, raw: Path, name: str, folder: Path, source: Source) -> dict[str, int]:
    """Clean one table in one pass, rows laid out by reason; returns rows by reason."""
    path = raw / name
    if not path.exists():
        raise DataError(f"{path}: missing; run `python -m training ingest` first")
    known = {key: spark.read.parquet(str(folder / t)).select(key) for t, key in _references(name)}
    judged = judge(enforce(spark.read.parquet(str(path)), name, path), name, source, known)
    quarantine = folder / "quarantine" / name
    judged.fillna(CLEAN, ["reason"]).write.partitionBy("reason").parquet(str(quarantine))
    counts = {part.name.removeprefix("reason="): _rows(part) for part in quarantine.glob("reason=*")}
    if CLEAN in counts:
        (quarantine / f"reason={CLEAN}").rename(folder / name)
    else:
        judged.drop("reason").limit(0).write.parquet(str(folder / name))
    if not set(counts) - {CLEAN}:
        shutil.rmtree(quarantine)
    return counts


def _rows(folder: Path) -> int:
    return int(ds.dataset(folder, format="parquet").count_rows())


def _references(name: str) -> Sequence[tuple[str, str]]:
    return (("items", "item_id"), ("users", "user_id")) if CHECKS[name].orphans else ()


def judge(rows: DataFrame, name: str, source: Source, known: dict[str, DataFrame]) -> DataFrame:
    """The rows of a table with a column `reason`, null for clean ones. `known` holds valid ids by key column."""
    checks = CHECKS[name]
    for key, ids in known.items():
        rows = rows.join(ids.withColumn(f"known_{key}", fn.lit(True)), key, "left")
    columns = [c for c in rows.columns if c != MALFORMED and not c.startswith("known_")]
    rows = rows.withColumn("reason", _reason(name, checks, source, known))
    rows = rows.withColumn("reason", fn.coalesce("reason", _repeated(checks, columns)))
    return rows.select(*columns, "reason")


def _reason(name: str, checks: Checks, source: Source, known: dict[str, DataFrame]) -> Column:
    rules = [fn.when(fn.col(MALFORMED), "schema")]
    rules += [fn.when(fn.col(key).isNull(), f"null_{key}") for key in checks.identity]
    if name == "events":
        wrong = fn.col("event_type").isNull() | ~fn.col("event_type").isin(*EVENT_TYPES)
        rules.append(fn.when(wrong, "event_type"))
    rules += _age_rules(checks, source.as_of)
    rules += [fn.when(fn.col(f"known_{key}").isNull(), f"unknown_{key}") for key in known]
    return fn.coalesce(*rules, fn.lit(None).cast("string"))


def _age_rules(checks: Checks, as_of: datetime | None) -> list[Column]:
    if checks.moment is None or as_of is None:
        return []
    moment = fn.col(checks.moment)
    future = fn.when(moment > fn.lit(as_of), "future")
    return [future, fn.when(moment < fn.lit(as_of - OLDEST), "too_old")] if checks.ages else [future]


def _repeated(checks: Checks, columns: list[str]) -> Column:
    """'duplicate' for every clean row but one of those equal in the key; which one stays does not depend on order."""
    same = Window.partitionBy(*checks.duplicate).orderBy(fn.col("reason").isNotNull(), fn.xxhash64(*columns))
    return fn.when(fn.row_number().over(same) > 1, "duplicate")


def _report(source: Source, tables: dict[str, dict[str, int]]) -> dict[str, Any]:
    def entry(counts: dict[str, int]) -> dict[str, Any]:
        total, clean = sum(counts.values()), counts.get(CLEAN, 0)
        rejected = {reason: n for reason, n in sorted(counts.items()) if reason != CLEAN}
        return {"rows": total, "clean": clean, "rejected": rejected, "quality": clean / total if total else 1.0}

    entries = {name: entry(counts) for name, counts in tables.items()}
    total = sum(e["rows"] for e in entries.values())
    clean = sum(e["clean"] for e in entries.values())
    return {"source": source.name, "as_of": source.as_of, "quality": clean / max(total, 1), "tables": entries}


def _stop_below_minimum(raw: Path, report: dict[str, Any]) -> None:
    for name, entry in report["tables"].items():
        if entry["quality"] < MINIMUM_QUALITY:
            reasons = ", ".join(f"{reason} {n}" for reason, n in entry["rejected"].items())
            raise DataError(
                f"{raw / name}: {entry['clean']} of {entry['rows']} rows are clean, below "
                f"{MINIMUM_QUALITY:.0%} ({reasons}); mend the data or pass --allow-low-quality"
            )
