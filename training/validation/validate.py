"""Raw tables → clean tables, a quarantine with reasons, and a report; `python -m training validate`.

    read ── judge ── write by reason, once ── count in the footers ── what is odd in the clean rows ── report

The first rule a row breaks is its reason. Below `MINIMUM_QUALITY` in any table nothing is published and the run
stops, unless told otherwise; what says why (the report and the quarantine) is then left in `refused`.
"""  # fmt: skip

import shutil
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from deploy.settings import Settings
from training.adapters.publish import publish
from training.adapters.source import Source, read_source
from training.errors import DataError
from training.validation.anomalies import anomalies
from training.validation.profile import Profile, profile
from training.validation.read import read_raw
from training.validation.report import MINIMUM_QUALITY, PAGE, Report, write_report
from training.validation.rules import CHECKS, CLEAN, SCHEMA, judge
from training.validation.schemas import TABLES, struct

QUARANTINE = "quarantine"


def validate(spark: SparkSession, settings: Settings, allow_low_quality: bool = False) -> dict[str, Any]:
    """Write settings.tables; returns the report. Raises DataError when the quality is too low.

    `quarantine/<table>` exists where rows of the table were rejected.
    """
    source = read_source(settings.raw)
    with publish(settings.tables) as folder:
        (folder / QUARANTINE).mkdir()
        profiles = {name: _table(spark, settings.raw, name, folder, source) for name in TABLES}
        tables = {name: _clean(spark, folder, name) for name in TABLES}
        report = Report(source=source, profiles=profiles, anomalies=anomalies(tables, profiles, folder))
        write_report(report, folder)
        _gate(settings, report, folder, allow_low_quality)
    return report.document()


def _table(spark: SparkSession, raw: Path, name: str, folder: Path, source: Source) -> Profile:
    """Clean one table in one pass, rows laid out by reason."""
    found = read_raw(spark, raw / name, name)
    known = {key: _clean(spark, folder, table).select(key) for table, key in CHECKS[name].references}
    parts = folder / QUARANTINE / name
    judge(found.rows, name, source, known).write.partitionBy("reason").parquet(str(parts))
    if found.malformed is not None:
        found.malformed.write.parquet(str(parts / f"reason={SCHEMA}"))
    counted = profile(name, parts)
    _settle(spark, parts, folder / name, counted)
    return counted


def _clean(spark: SparkSession, folder: Path, name: str) -> DataFrame:
    return spark.read.schema(struct(name)).parquet(str(folder / name))


def _settle(spark: SparkSession, parts: Path, target: Path, counted: Profile) -> None:
    """The clean rows become the table, the quarantine keeps the others; a table without rows is still one."""
    if counted.clean:
        (parts / f"reason={CLEAN}").rename(target)
    else:
        spark.createDataFrame([], struct(target.name)).write.parquet(str(target))
    if not counted.counts[SCHEMA]:
        shutil.rmtree(parts / f"reason={SCHEMA}", ignore_errors=True)
    if not counted.rejected:
        shutil.rmtree(parts)


def _gate(settings: Settings, report: Report, folder: Path, allow_low_quality: bool) -> None:
    """Raises DataError for the first table below the minimum quality, and keeps what says why in `refused`."""
    refused = settings.tables.with_name("refused")
    if allow_low_quality or not report.failed:
        shutil.rmtree(refused, ignore_errors=True)
        return
    with publish(refused) as kept:
        for path in (p for p in folder.iterdir() if p.name not in TABLES):
            path.rename(kept / path.name)
    name = report.failed[0]
    found = report.profiles[name]
    reasons = ", ".join(f"{reason} {n}" for reason, n in found.rejected.items())
    raise DataError(
        f"{settings.raw / name}: {found.clean} of {found.rows} rows are clean, below {MINIMUM_QUALITY:.0%} "
        f"({reasons}); see {refused / PAGE}, mend the data or pass --allow-low-quality"
    )
