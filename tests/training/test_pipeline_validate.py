"""Each rule rejects exactly the rows that break it, with its name, and low quality stops the run."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.settings import Settings
from tests.training.shop import Row, write_shop
from training.adapters.source import Source
from training.errors import DataError
from training.pipeline.validate import validate

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
SOURCE = Source(name="files", has_impressions=True, as_of=AS_OF)
EVENT: Row = {"user_id": "u1", "item_id": "i1", "event_type": "view", "timestamp": AS_OF - timedelta(days=3)}
SHOWN: Row = EVENT | {"request_id": "r1", "position": 1}

BROKEN: dict[str, Row] = {
    "null_user_id": {"user_id": None},
    "null_item_id": {"item_id": None},
    "null_timestamp": {"timestamp": None},
    "event_type": {"event_type": "stare"},
    "future": {"timestamp": AS_OF + timedelta(seconds=1)},
    "too_old": {"timestamp": AS_OF - timedelta(days=731)},
    "unknown_item_id": {"item_id": "i9"},
    "unknown_user_id": {"user_id": "u9"},
}


def _shop(home: Path, events: list[Row]) -> Settings:
    created = AS_OF - timedelta(days=1000)
    return write_shop(
        home,
        SOURCE,
        users=[{"user_id": "u1"}, {"user_id": "u2"}, {"user_id": None}],
        items=[{"item_id": "i1", "created_at": created}, {"item_id": "i2", "created_at": AS_OF + timedelta(days=1)}],
        events=events,
        impressions=[{k: v for k, v in SHOWN.items() if k != "event_type"}] * 2,
    )


def _rejected(settings: Settings, name: str) -> dict[str, int]:
    table = pd.read_parquet(settings.tables / "quarantine" / name)
    return {str(reason): int(n) for reason, n in table.reason.value_counts().items()}


@pytest.fixture(scope="module")
def dirty(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dict[str, Any]]:
    good = [EVENT | {"timestamp": EVENT["timestamp"] + timedelta(minutes=n)} for n in range(20)]
    copies = [good[0] | {"event_id": "again"}, good[0]]
    broken = [EVENT | change for change in BROKEN.values()]
    settings = _shop(tmp_path_factory.mktemp("dirty"), [*good, *copies, *broken])
    return settings, validate(spark, settings, allow_low_quality=True)


def test_every_rule_rejects_the_row_that_breaks_it(dirty: tuple[Settings, dict[str, Any]]) -> None:
    settings, report = dirty
    expected = dict.fromkeys(BROKEN, 1) | {"duplicate": 2}
    assert report["tables"]["events"]["rejected"] == expected
    assert _rejected(settings, "events") == expected


def test_clean_tables_hold_the_rest_in_canonical_columns(dirty: tuple[Settings, dict[str, Any]]) -> None:
    settings, report = dirty
    events = pd.read_parquet(settings.tables / "events")
    assert len(events) == report["tables"]["events"]["clean"] == 20
    assert "reason" not in events.columns
    assert events.timestamp.nunique() == 20


def test_other_tables_are_checked_too(dirty: tuple[Settings, dict[str, Any]]) -> None:
    settings, _ = dirty
    assert _rejected(settings, "users") == {"null_user_id": 1}
    assert _rejected(settings, "items") == {"future": 1}
    assert _rejected(settings, "impressions") == {"duplicate": 1}


def test_quality_is_clean_of_total(dirty: tuple[Settings, dict[str, Any]]) -> None:
    _, report = dirty
    tables = report["tables"]
    assert tables["events"]["quality"] == pytest.approx(20 / 30)
    clean, total = (sum(t[k] for t in tables.values()) for k in ("clean", "rows"))
    assert report["quality"] == pytest.approx(clean / total)


def test_low_quality_stops_and_publishes_nothing(spark: "SparkSession", tmp_path: Path) -> None:
    settings = _shop(tmp_path, [EVENT, EVENT | BROKEN["event_type"]])
    with pytest.raises(DataError, match=r"raw/users: 2 of 3 rows are clean.*null_user_id 1.*--allow-low-quality"):
        validate(spark, settings)
    assert not settings.tables.exists()
    assert not list(settings.workspace.glob("*.partial"))


def test_a_value_of_another_type_is_quarantined(spark: "SparkSession", tmp_path: Path) -> None:
    settings = _shop(tmp_path, [EVENT, EVENT | {"timestamp": AS_OF}])
    path = settings.raw / "events" / "part-0.parquet"
    table = pq.read_table(path)
    prices = pa.array(["9.5", "cheap"])
    pq.write_table(table.set_column(table.column_names.index("price"), "price", prices), path)
    validate(spark, settings, allow_low_quality=True)
    assert _rejected(settings, "events") == {"schema": 1}
    assert pd.read_parquet(settings.tables / "events").price.tolist() == [9.5]


def test_a_missing_column_names_table_column_and_rows(spark: "SparkSession", tmp_path: Path) -> None:
    settings = _shop(tmp_path, [EVENT])
    path = settings.raw / "events" / "part-0.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["item_id"]), path)
    with pytest.raises(DataError, match=r"raw/events: column item_id: missing in all 1 rows"):
        validate(spark, settings)


def test_a_machine_like_user_is_counted(spark: "SparkSession", tmp_path: Path) -> None:
    busy = [EVENT | {"timestamp": EVENT["timestamp"] + timedelta(seconds=n)} for n in range(1001)]
    report = validate(spark, _shop(tmp_path, busy), allow_low_quality=True)
    assert report["anomalies"] == {"odd_days": [], "bot_users": 1}
