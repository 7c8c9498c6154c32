"""The figures of a validation in Prometheus' text format, for the textfile collector of the node exporter.

Every rule of every table is there, at 0 where nothing broke it, so that an alarm on a rate has a series to look at.
"""

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from training.validation.report import Report

Samples = Iterable[tuple[tuple[str, ...], float]]


def write_metrics(report: Report, path: Path) -> None:
    """Replace the file in one step."""
    registry = CollectorRegistry()
    _by_table(registry, report)
    _odd(registry, report)
    write_to_textfile(str(path), registry)


def _by_table(registry: CollectorRegistry, report: Report) -> None:
    tables = report.profiles.items()
    rows = [((name, reason), n) for name, found in tables for reason, n in found.counts.items()]
    _gauge(registry, "rows", "Rows by the rule they broke, or clean.", ("table", "reason"), rows)
    quality = [((name,), found.quality) for name, found in tables]
    _gauge(registry, "quality_ratio", "Clean rows of all rows.", ("table",), quality)
    moment = report.source.as_of.timestamp() if report.source.as_of else 0.0
    _gauge(registry, "as_of_timestamp_seconds", "The moment the run calls now.", (), [((), moment)])
    _gauge(registry, "passed", "1 when every table has the minimum quality.", (), [((), not report.failed)])


def _odd(registry: CollectorRegistry, report: Report) -> None:
    found = report.anomalies
    for kind, text in (("odd", "Days of unusual volume."), ("empty", "Days without a row inside the range.")):
        days = [((name,), len(getattr(a, f"{kind}_days"))) for name, a in found.activities.items()]
        _gauge(registry, f"{kind}_days", text, ("table",), days)
    _gauge(registry, "bot_users", "Users above 1000 events on a day.", (), [((), found.bots.users)])
    outliers = [(key, d.outliers) for key, d in found.distributions.items()]
    _gauge(registry, "outliers", "Values beyond Tukey's outer fences.", ("table", "column"), outliers)
    _gauge(registry, "categories", "Distinct item categories.", (), [((), found.categories.distinct)])
    share = found.categories.other_share
    _gauge(registry, "other_category_ratio", "Items whose category has no code.", (), [((), share)])


def _gauge(registry: CollectorRegistry, name: str, text: str, labels: tuple[str, ...], samples: Samples) -> None:
    gauge = Gauge(f"trident_validation_{name}", text, labels, registry=registry)
    for values, value in samples:
        (gauge.labels(*values) if labels else gauge).set(value)
