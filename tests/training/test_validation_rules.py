"""Each rule rejects exactly the rows that break it, with its name; nothing is lost; low quality stops the run."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.dataset as ds
import pytest

from deploy.settings import Settings
from tests.training.shop import Row, write_shop
from training.adapters.canonical import SCHEMAS
from training.adapters.source import Source
from training.errors import DataError
from training.validation.schemas import TABLES
from training.validation.validate import validate

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
SOURCE = Source(name="files", has_impressions=True, as_of=AS_OF)
EVENT: Row = {"user_id": "u1", "item_id": "i1", "event_type": "view", "timestamp": AS_OF - timedelta(days=3)}
SHOWN: Row = EVENT | {"request_id": "r1", "position": 1}

BROKEN: dict[str, Row] = {
    "null_user_id": {"user_id": None},
    "null_item_id": {"item_id": " "},
    "null_timestamp": {"timestamp": None},
    "event_type": {"event_type": "stare"},
    "not_finite": {"price": float("-inf")},
    "negative_price": {"price": -0.01},
    "negative_quantity": {"quantity": -1},
    "future": {"timestamp": AS_OF + timedelta(seconds=1)},
    "too_old": {"timestamp": AS_OF - timedelta(days=731)},
    "unknown_item_id": {"item_id": "i9"},
    "unknown_user_id": {"user_id": "u9"},
}
ALLOWED: list[Row] = [{"price": 0.0, "quantity": 0}, {"timestamp": AS_OF}, {"timestamp": AS_OF - timedelta(days=730)}]


def _shop(home: Path, events: list[Row]) -> Settings:
    created, tomorrow = AS_OF - timedelta(days=1000), AS_OF + timedelta(days=1)
    return write_shop(
        home,
        SOURCE,
        users=[{"user_id": "u1"}, {"user_id": "u2"}, {"user_id": ""}, {"user_id": "u3", "signup_at": tomorrow}],
        items=[
            {"item_id": "i1", "created_at": created}, {"item_id": "i2", "created_at": tomorrow},
            {"item_id": "i3", "created_at": created, "image_vector": [0.5, float("nan")]},
            {"item_id": "i4", "created_at": created, "rating": -1.0},
        ],
        events=events,
        impressions=[{k: v for k, v in SHOWN.items() if k != "event_type"} | {"position": n} for n in (1, 1, -1)],
    )  # fmt: skip


def _rejected(settings: Settings, name: str) -> dict[str, int]:
    table = pd.read_parquet(settings.tables / "quarantine" / name)
    return {str(reason): int(n) for reason, n in table.reason.value_counts().items()}


@pytest.fixture(scope="module")
def dirty(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dict[str, Any]]:
    good = [EVENT | {"timestamp": EVENT["timestamp"] + timedelta(minutes=n)} for n in range(20)]
    copies = [good[0] | {"event_id": "again"}, good[0]]
    broken = [EVENT | change for change in BROKEN.values()]
    odd = [EVENT | change for change in ALLOWED]
    settings = _shop(tmp_path_factory.mktemp("dirty"), [*good, *odd, *copies, *broken])
    return settings, validate(spark, settings, allow_low_quality=True)


def test_every_rule_rejects_the_row_that_breaks_it(dirty: tuple[Settings, dict[str, Any]]) -> None:
    settings, report = dirty
    expected = dict.fromkeys(BROKEN, 1) | {"duplicate": 3}  # two copies, and the event that only has a price
    assert report["tables"]["events"]["rejected"] == expected
    assert _rejected(settings, "events") == expected


def test_clean_tables_hold_the_rest_in_canonical_columns(dirty: tuple[Settings, dict[str, Any]]) -> None:
    settings, report = dirty
    events = pd.read_parquet(settings.tables / "events")
    assert list(events.columns) == SCHEMAS["events"].names
    assert len(events) == report["tables"]["events"]["clean"] == events.timestamp.nunique() == 22


def test_other_tables_are_checked_too(dirty: tuple[Settings, dict[str, Any]]) -> None:
    settings, _ = dirty
    assert _rejected(settings, "users") == {"null_user_id": 1, "future": 1}
    assert _rejected(settings, "items") == {"future": 1, "not_finite": 1, "negative_rating": 1}
    assert _rejected(settings, "impressions") == {"duplicate": 1, "negative_position": 1}


def test_every_row_is_clean_or_in_quarantine(dirty: tuple[Settings, dict[str, Any]]) -> None:
    settings, report = dirty
    for name in SCHEMAS:
        came, clean, kept = (
            ds.dataset(folder / name, format="parquet").count_rows()
            for folder in (settings.raw, settings.tables, settings.tables / "quarantine")
        )
        assert came == clean + kept == report["tables"][name]["rows"]


def test_quality_is_clean_of_total(dirty: tuple[Settings, dict[str, Any]]) -> None:
    _, report = dirty
    tables = report["tables"]
    assert tables["events"]["quality"] == pytest.approx(22 / 36)
    clean, total = (sum(t[k] for t in tables.values()) for k in ("clean", "rows"))
    assert report["quality"] == pytest.approx(clean / total)


def test_missing_values_are_counted_by_column(dirty: tuple[Settings, dict[str, Any]]) -> None:
    _, report = dirty
    missing = report["tables"]["events"]["missing"]
    assert (missing["user_id"], missing["price"], missing["device"]) == (0, 22, 22)


def test_clean_tables_pass_the_schema(spark: "SparkSession", dirty: tuple[Settings, dict[str, Any]]) -> None:
    settings, _ = dirty
    for name, schema in TABLES.items():
        clean = spark.read.parquet(str(settings.tables / name))
        assert not schema.validate(clean).pandera.errors
        assert schema.validate(spark.read.parquet(str(settings.raw / name))).pandera.errors


def test_low_quality_stops_and_keeps_only_what_says_why(spark: "SparkSession", tmp_path: Path) -> None:
    settings = _shop(tmp_path, [EVENT, EVENT | BROKEN["event_type"]])
    with pytest.raises(DataError, match=r"raw/users: 2 of 4 rows are clean.*null_user_id 1.*--allow-low-quality"):
        validate(spark, settings)
    assert not settings.tables.exists()
    assert not list(settings.workspace.glob("*.partial"))
    refused = settings.workspace / "refused"
    assert {path.name for path in refused.iterdir()} == {
        "anomalies", "quarantine", "report.html", "report.json", "validation.prom",
    }  # fmt: skip
    validate(spark, settings, allow_low_quality=True)
    assert settings.tables.exists()
    assert not refused.exists()
