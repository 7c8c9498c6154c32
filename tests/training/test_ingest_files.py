"""The user's own files become canonical tables: types, lists, times, ids, and snapshots of users and items."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.source_folder import EVENTS, HEADER, ITEMS, USERS, day, folder_of, rows, source
from training.adapters.files.ingest import ingest
from training.adapters.files.shapes import shapes
from training.adapters.files.storage import Storage
from training.adapters.source import Windows, read_source
from training.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_csv_is_parsed_into_the_canonical_types(spark: "SparkSession", tmp_path: Path) -> None:
    own = source(tmp_path, {"events.csv": EVENTS})
    assert ingest(spark, own) == {"events": 2, "impressions": 0, "items": 1, "users": 1}
    view, purchase = rows(own, "events")
    assert (view["price"], purchase["price"]) == (None, 9.5)
    item = rows(own, "items")[0]
    assert (item["tags"], item["in_stock"], item["regions"]) == (["old", "rare"], True, None)
    assert str(item["created_at"]) == "2025-01-01 00:00:00+00:00"
    assert rows(own, "users")[0]["age"] == 31
    assert rows(own, "impressions") == []
    declared = read_source(own.raw)
    assert not declared.has_impressions
    assert str(declared.as_of) == "2026-01-04 00:00:00+00:00"  # a date without a time lasts a day


def test_a_source_may_declare_windows_and_hold_parquet_parts(spark: "SparkSession", tmp_path: Path) -> None:
    parts = {f"users/{n}.parquet": pa.table({"user_id": [n], "extra": [0]}) for n in range(2)}
    own = source(
        tmp_path,
        {"events.csv": EVENTS, "source.json": '{"windows": {"train": 30, "validation": 3, "test": 4}}', **parts},
    )
    assert ingest(spark, own)["users"] == 2
    assert sorted(row["user_id"] for row in rows(own, "users")) == ["0", "1"]
    assert read_source(own.raw).windows == Windows(train=30, validation=3, test=4)


TIMES = {
    "2026-01-02T12:00:00": NOON,
    "2026-01-02 12:00:00.000": NOON,
    "2026-01-02T21:00:00+09:00": NOON,
    "2026-01-02T07:00:00-0500": NOON,
    "2026-01-02 13:00+0100": NOON,
    "2026-01-02T12:00Z": NOON,
    "20260102T120000Z": NOON,
    "1767355200": NOON,
    "1767355200.5": NOON.replace(microsecond=500_000),
    "2026-01-02": NOON.replace(hour=0),
}


def test_mixed_time_zones_and_spellings_are_one_clock(spark: "SparkSession", tmp_path: Path) -> None:
    """Each value with a zone is that moment, each without is UTC, in one column side by side."""
    lines = "".join(f'u{n},i1,view,"{text}"\n' for n, text in enumerate(TIMES))
    own = source(tmp_path, {"events.csv": HEADER + lines})
    ingest(spark, own)
    assert {row["user_id"]: row["timestamp"] for row in rows(own, "events")} == {
        f"u{n}": moment for n, moment in enumerate(TIMES.values())
    }


@pytest.mark.parametrize("text", ["T12:00:00", "12:00", "soon", "1767355200000", "2026-02-30", "nan", "1e300"])
def test_a_time_that_is_none_keeps_its_text(spark: "SparkSession", tmp_path: Path, text: str) -> None:
    """Not today's date with that hour, and not a moment in the year 57,974."""
    own = source(tmp_path, {"events.csv": EVENTS + f"u2,i1,view,{text},\n"})
    assert ingest(spark, own)["events"] == 3
    assert f'"{text}"' in _kept_as_text(own.raw / "events", "timestamp")


def _kept_as_text(folder: Path, column: str) -> list[str]:
    tables = [pq.read_table(path) for path in sorted(folder.rglob("*.parquet"))]
    return [text for t in tables if t.schema.field(column).type == pa.string() for text in t[column].to_pylist()]


def test_what_pandas_writes_is_read(spark: "SparkSession", tmp_path: Path) -> None:
    """Nanoseconds, ids that became floating point next to a null, categories, decimals, vectors."""
    frame = pd.DataFrame({
        "user_id": pd.Categorical(["u1", "u2"]),
        "item_id": [7.0, np.nan],
        "event_type": ["view", "view"],
        "timestamp": pd.to_datetime(["2026-01-02T12:00:00.123456789", None]),
        "quantity": [2.0, np.nan],
        "device": [None, None],
        "price": [None, None],
    })  # fmt: skip
    vectors = pa.table({
        "item_id": pa.array([7], pa.int64()), "category": ["books"], "created_at": pa.array([NOON.date()]),
        "image_vector": pa.array([[0.5, 1.5]], pa.list_(pa.float64(), 2)), "in_stock": pa.array([1], pa.int8()),
        "price": pa.array([5], pa.decimal128(5, 2)), "tags": pa.nulls(1), "title": pa.nulls(1), "rating": pa.nulls(1),
    })  # fmt: skip
    own = source(
        tmp_path, {"events.parquet": pa.Table.from_pandas(frame), "items.parquet": vectors, "users.csv": USERS}
    )
    ingest(spark, own)
    first, second = rows(own, "events")
    assert (first["item_id"], first["quantity"], first["user_id"]) == ("7", 2, "u1")
    assert first["timestamp"] == NOON.replace(microsecond=123456)
    assert (second["item_id"], second["quantity"], second["timestamp"]) == (None, None, None)
    item = rows(own, "items")[0]
    assert (item["item_id"], item["image_vector"], item["in_stock"], item["price"]) == ("7", [0.5, 1.5], True, 5.0)


IDS = ["a|b", "a,b", "a/b", "a\nb", "a=b", "ключ", "日本", "100%", " x ", 'q"q', "day=1"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_ids_stay_as_they_are(spark: "SparkSession", tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"user_id": IDS, "item_id": IDS, "event_type": "view", "timestamp": "2026-01-02"})
    content = frame.to_csv(index=False) if kind == "csv" else pa.Table.from_pandas(frame)
    own = source(tmp_path, {f"events/date=2026-01-02/a=b.{kind}": content})
    ingest(spark, own)
    assert [row["user_id"] for row in rows(own, "events")] == IDS
    assert [row["item_id"] for row in rows(own, "events")] == IDS


def test_files_of_one_folder_may_order_their_columns_differently(spark: "SparkSession", tmp_path: Path) -> None:
    other = "timestamp,user_id,event_type,item_id,note\n2026-01-05,u2,click,i1,x\n"
    own = source(tmp_path, {"events/a.csv": EVENTS, "events/b.csv.gz": other, "events/README.txt": "not data"})
    assert ingest(spark, own)["events"] == 3
    last = next(row for row in rows(own, "events") if row["user_id"] == "u2")
    assert (last["item_id"], last["event_type"], last["timestamp"].day) == ("i1", "click", 5)


def test_a_byte_order_mark_is_not_part_of_the_first_column(spark: "SparkSession", tmp_path: Path) -> None:
    own = source(tmp_path, {"events.csv": b"\xef\xbb\xbf" + EVENTS.encode()})
    ingest(spark, own)
    assert {row["user_id"] for row in rows(own, "events")} == {"u1"}


def test_negative_prices_and_future_times_are_kept_for_the_rules(spark: "SparkSession", tmp_path: Path) -> None:
    lines = "u1,i1,purchase,2026-01-03,-9.5\nu1,i1,view,2031-01-01,\n"
    own = source(tmp_path, {"events.csv": EVENTS + lines, "source.json": '{"as_of": "2026-01-04T00:00:00"}'})
    assert ingest(spark, own)["events"] == 4
    assert -9.5 in [row["price"] for row in rows(own, "events")]
    assert max(row["timestamp"] for row in rows(own, "events")).year == 2031
    assert str(read_source(own.raw).as_of) == "2026-01-04 00:00:00+00:00"


def test_a_category_for_every_item_is_no_failure(spark: "SparkSession", tmp_path: Path) -> None:
    count = 100_000
    items = {"item_id": [f"i{n}" for n in range(count)], "category": [f"c{n}" for n in range(count)]}
    items["created_at"] = ["2025-01-01"] * count
    own = source(tmp_path, {"events.csv": EVENTS, "items.parquet": pa.table(items)})
    assert ingest(spark, own)["items"] == count
    assert len(set(pq.read_table(own.raw / "items")["category"].to_pylist())) == count


def test_the_newest_snapshot_that_as_of_knows_is_taken(spark: "SparkSession", tmp_path: Path) -> None:
    snapshots: dict[str, Any] = {
        f"items/date=2026-01-{n:02}/part.csv": ITEMS.replace("books", f"of {n}") for n in (1, 2, 9)
    }
    own = source(tmp_path, {"events.csv": EVENTS, "users/2026-01-03/u.csv": USERS, **snapshots})
    ingest(spark, own)
    assert [row["category"] for row in rows(own, "items")] == ["of 2"]
    for n in (1, 2):
        (folder_of(own) / f"items/date=2026-01-{n:02}/part.csv").unlink()
    with pytest.raises(
        DataError, match=r"items: 1 snapshots, the first of 2026-01-09, none at or before as_of 2026-01"
    ):
        ingest(spark, own)
    assert [row["category"] for row in rows(own, "items")] == ["of 2"]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_url_is_read_like_a_folder_whatever_its_name(spark: "SparkSession", tmp_path: Path, scheme: str) -> None:
    own = source(tmp_path / "my [data] {v1} é*", {"events/2026-01-02/a.csv": day("2026-01-02"), "items.csv": ITEMS})
    own = own.model_copy(update={"data": f"{scheme}{own.data}"})
    assert ingest(spark, own)["events"] == 1
    assert (own.raw / "events" / "day=2026-01-02").is_dir()


def test_a_scheme_without_a_connector_says_how_to_get_one(spark: "SparkSession", tmp_path: Path) -> None:
    own = source(tmp_path, {"events.csv": EVENTS}).model_copy(update={"data": "s3a://bucket/shop"})
    with pytest.raises(DataError, match=r"s3a://bucket/shop: no connector .*TRIDENT_SPARK_OPTIONS"):
        ingest(spark, own)


def test_a_large_file_is_read_in_pieces(spark: "SparkSession", tmp_path: Path) -> None:
    """A task holds a row group at a time: several groups of one file are several tasks."""
    count = 40_000
    table = pa.table({
        "user_id": [f"u{n}" for n in range(count)], "item_id": ["i1"] * count, "event_type": ["view"] * count,
        "timestamp": ["2026-01-02"] * count,
    })  # fmt: skip
    own = source(tmp_path, {"items.csv": ITEMS, "users.csv": USERS})
    path = folder_of(own) / "events" / "date=2026-01-02" / "all.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path, row_group_size=10_000)
    before = spark.conf.get("spark.sql.files.maxPartitionBytes")
    spark.conf.set("spark.sql.files.maxPartitionBytes", str(path.stat().st_size // 4))
    try:
        storage = Storage(spark, str(folder_of(own)))
        ((shape, files),) = shapes(spark, storage, "events", storage.files("events")).items()
        assert shape.read(spark, files).rdd.getNumPartitions() >= 4
        assert ingest(spark, own)["events"] == count
    finally:
        spark.conf.set("spark.sql.files.maxPartitionBytes", before)
    assert len(list((own.raw / "events" / "day=2026-01-02").glob("*.parquet"))) >= 2
