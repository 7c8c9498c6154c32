"""Raw tables are read whatever their files disagree about, and what cannot be read is one line."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.shop import Row, rows
from training.adapters.canonical import SCHEMAS
from training.errors import DataError
from training.validation.enforce import MALFORMED
from training.validation.read import read_raw

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
EVENT: Row = {"user_id": "u1", "item_id": "i1", "event_type": "view", "timestamp": datetime(2026, 2, 1, tzinfo=UTC)}


def _write(path: Path, table: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """Two days of events: the canonical types in one; text for a price, whole numbers for ids in the other."""
    folder = tmp_path / "events"
    _write(folder / "day=2026-02-01" / "part-0.parquet", rows("events", [EVENT | {"price": 1.5}]))
    second = _with(rows("events", [EVENT] * 3), "price", pa.array(["9.5", "cheap", None]))
    second = _with(second, "quantity", pa.array([2.0, 1.5, None]))
    second = _with(second, "item_id", pa.array([7, 8, 9]))
    _write(folder / "day=2026-02-02" / "part-0.parquet", second)
    return folder


def test_partitions_of_other_types_are_cast(spark: "SparkSession", days: Path) -> None:
    found = read_raw(spark, days, "events")
    assert found.rows.columns == SCHEMAS["events"].names
    got = {(row["item_id"], row["price"], row["quantity"]) for row in found.rows.collect()}
    assert got == {("i1", 1.5, None), ("7", 9.5, 2), ("9", None, None)}


def test_what_does_not_fit_stands_apart_and_is_told(spark: "SparkSession", days: Path) -> None:
    malformed = read_raw(spark, days, "events").malformed
    assert malformed is not None
    assert [row[MALFORMED] for row in malformed.collect()] == ["price: cheap; quantity: 1.5"]


@pytest.mark.parametrize(("text", "fits"), [("2026-02-01", True), ("T10:00", False), ("soon", False)])
def test_text_is_a_moment_only_with_a_date(spark: "SparkSession", tmp_path: Path, text: str, fits: bool) -> None:
    table = _with(rows("events", [EVENT]), "timestamp", pa.array([text]))
    found = read_raw(spark, _write(tmp_path / "events" / "part-0.parquet", table).parent, "events")
    assert found.rows.count() == fits


def test_a_type_that_never_casts_is_malformed_where_it_holds_a_value(spark: "SparkSession", tmp_path: Path) -> None:
    table = _with(rows("items", [{"item_id": "i1"}, {"item_id": "i2"}]), "tags", pa.array(["old|rare", None]))
    found = read_raw(spark, _write(tmp_path / "items" / "part-0.parquet", table).parent, "items")
    assert [row["item_id"] for row in found.rows.collect()] == ["i2"]


def test_an_optional_column_may_be_absent_in_some_files(spark: "SparkSession", days: Path) -> None:
    (days / "day=2026-02-02" / "part-0.parquet").unlink()
    _write(days / "day=2026-02-03" / "part-0.parquet", rows("events", [EVENT]).drop_columns(["price", "quantity"]))
    found = read_raw(spark, days, "events")
    assert found.malformed is None
    assert {row["price"] for row in found.rows.collect()} == {1.5, None}


def test_a_folder_without_files_is_an_empty_table(spark: "SparkSession", tmp_path: Path) -> None:
    assert read_raw(spark, tmp_path, "impressions").rows.count() == 0


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _drop(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns(["item_id"]), path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [(_truncate, "part-0.parquet: cannot be read as Parquet"), (_drop, "column item_id: missing in all 3 rows")],
)
def test_a_file_that_cannot_be_used_is_one_line(spark: "SparkSession", days: Path, spoil: Any, says: str) -> None:
    spoil(days / "day=2026-02-02" / "part-0.parquet")
    with pytest.raises(DataError) as raised:
        read_raw(spark, days, "events")
    assert says in str(raised.value)
    assert "day=2026-02-02" in str(raised.value)
    assert "\n" not in str(raised.value)
