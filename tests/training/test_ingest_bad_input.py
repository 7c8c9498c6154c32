"""Bad input has a defined outcome: one line and nothing written, or a row that validation quarantines with its text."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.settings import Settings
from tests.training.source_folder import EVENTS, HEADER, ITEMS, USERS, day, folder_of, rows, source, write
from training.adapters.files.ingest import ingest
from training.errors import DataError
from training.validation.validate import validate

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return source(tmp_path, {"events.csv": EVENTS})


def _put(**files: str | bytes | pa.Table) -> Callable[[Path], None]:
    """Write these files; `__` in a name is a dot and `___` a slash."""
    return lambda data: write(data, {n.replace("___", "/").replace("__", "."): c for n, c in files.items()})


def _cut(name: str, content: bytes) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        (data / "events.csv").unlink()
        write(data, {name: content[: len(content) // 2]})

    return change


def _parquet(**columns: list[object]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


EVENT = {"user_id": ["u1"], "item_id": ["i1"], "event_type": ["view"], "timestamp": ["2026-01-02"]}
SHOWN = {"request_id": ["r"], "user_id": ["u"], "item_id": ["i"], "position": [1], "timestamp": [""]}

STOPS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "missing file": (lambda data: (data / "items.csv").unlink(), ("items", "missing", "events.csv")),
    "missing column": (_put(users__csv="id\nu1\nu2\n"), ("users.csv", "user_id", "2 rows", "the file has id")),
    "missing column of Parquet": (
        _put(impressions__parquet=pa.table({"request_id": ["r"]})),
        ("impressions.parquet", "user_id, item_id, position", "1 rows"),
    ),
    "duplicate column": (_put(events__csv="user_id,price," + EVENTS), ("events.csv", "price, user_id: ", "more than")),
    "duplicate column but for case": (
        _put(impressions__parquet=pa.table(SHOWN | {"Position": [2]})),
        ("impressions.parquet", "column position", "more than once"),
    ),
    "truncated Parquet": (_cut("events.parquet", _parquet(**EVENT)), ("events.parquet", "cannot be read as Parquet")),
    "truncated gzip": (
        _cut("events.csv.gz", gzip.compress(day("2026-01-02", users=20_000).encode())),
        ("events.csv.gz", "cannot be read", "EOF"),
    ),
    "not gzip": (_cut("events.csv.gz", b"user_id,item_id" * 9), ("events.csv.gz", "cannot be read as CSV")),
    "not text": (_put(users__csv=b"\xff\xfe\x00"), ("users.csv", "cannot be read as CSV")),
    "another encoding": (
        _put(users__csv="user_id\nu1\nJos\xe9\n".encode("latin-1")),
        ("users.csv", "a value is not UTF-8"),
    ),
    "empty file": (_put(users__csv=b""), ("users.csv", "cannot be read as CSV", "no header")),
    "no moment": (_put(events__csv=HEADER), ("events: column timestamp: no value in any row",)),
    "hopeless type": (
        _put(items__csv=ITEMS, impressions__parquet=pa.table(SHOWN | {"position": [[1]]})),
        ("impressions.parquet: column position: all rows are of type array<bigint>, expected int32",),
    ),
    "twice": (_put(events___a__csv=EVENTS), ("events is there twice, events and events.csv",)),
    "beside the days": (
        _put(impressions___a__csv="x", **{"impressions___2026-01-02___a__csv": "x"}),
        ("impressions: 1 files lie beside the days, first a.csv",),
    ),
    "another partition": (_put(**{"impressions___country=US___a__csv": "x"}), ("folder country=US: only days",)),
    "no such day": (_put(**{"impressions___2026-02-30___a__csv": "x"}), ("folder 2026-02-30: no such day",)),
    "no files": (_put(impressions___a__txt="x"), ("impressions: holds 0 files named *.parquet",)),
    "unknown key": (_put(source__json='{"window": 3}'), ("source.json", "window", "windows")),
    "bad windows": (
        _put(source__json='{"windows": {"train": 7, "validation": 7, "test": 7}}'),
        ("source.json", "7/7/7"),
    ),
}


@pytest.mark.parametrize("problem", STOPS)
def test_what_cannot_be_read_is_one_line_and_leaves_nothing(spark: "SparkSession", own: Settings, problem: str) -> None:
    spoil, expected = STOPS[problem]
    spoil(folder_of(own))
    with pytest.raises(DataError) as raised:
        ingest(spark, own)
    message = str(raised.value)
    assert all(part in message for part in expected), message
    assert "\n" not in message
    assert not own.workspace.exists() or not list(own.workspace.iterdir())


@pytest.mark.parametrize("data", [None, Path("nowhere")])
def test_no_folder_says_which_setting(spark: "SparkSession", own: Settings, data: Path | None) -> None:
    missing = Settings(home=own.home, source="files", data=str(data) if data else None)
    with pytest.raises(DataError, match="TRIDENT_DATA"):
        ingest(spark, missing)


GOOD = "u1,i1,view,2026-01-{:02}T10:00:00,1,2\n"
WRONG = {
    "u1,i1,view,soon,1,2": "soon",
    "u1,i1,view,T12:00:00,1,2": "T12:00:00",
    "u1,i1,view,2026-01-02,cheap,2": "cheap",
    "u1,i1,view,2026-01-02,nan,2": "nan",
    "u1,i1,view,2026-01-02,1d,2": "1d",
    "u1,i1,view,2026-01-02,1,2.5": "2.5",
    "u1,i1,view,2026-01-02,1,99999999999": "99999999999",
    "u1,i1,view,2026-01-02": "u1,i1,view,2026-01-02",  # too few values, or too many: the line itself
    "u1,i1,view,2026-01-02,1,2,3,4": "u1,i1,view,2026-01-02,1,2,3,4",
}


def test_what_does_not_convert_is_quarantined_with_its_text(spark: "SparkSession", tmp_path: Path) -> None:
    lines = HEADER.strip() + ",price,quantity\n" + "".join(GOOD.format(n) for n in range(1, 11))
    own = source(tmp_path, {"events/date=2026-01-02/part.csv": lines + "\n".join(WRONG) + "\n"})
    for _ in range(2):  # the second run replaces the day
        assert ingest(spark, own)["events"] == 10 + len(WRONG)
    report = validate(spark, own, allow_low_quality=True)
    assert report["tables"]["events"]["rejected"]["schema"] == len(WRONG)
    quarantine = str(pq.read_table(own.tables / "quarantine" / "events" / "reason=schema").to_pylist())
    assert all(text in quarantine for text in WRONG.values()), quarantine


def test_a_list_with_one_bad_element_and_a_bad_flag_are_quarantined(spark: "SparkSession", tmp_path: Path) -> None:
    items = "item_id,category,created_at,image_vector,in_stock\n"
    items += "i1,a,2025-01-01,0.5|1,yes\ni2,a,2025-01-01,0.5|x,1\ni3,a,2025-01-01,,maybe\n"
    own = source(tmp_path, {"events.csv": EVENTS, "items.csv": items, "users.csv": USERS})
    ingest(spark, own)
    report = validate(spark, own, allow_low_quality=True)
    assert report["tables"]["items"]["rejected"] == {"schema": 2}
    quarantine = str(pq.read_table(own.tables / "quarantine" / "items" / "reason=schema").to_pylist())
    assert "image_vector: [0.5, x]" in quarantine
    assert "maybe" in quarantine
    clean = pq.read_table(own.tables / "items").to_pylist()
    assert [(row["item_id"], row["image_vector"], row["in_stock"]) for row in clean] == [("i1", [0.5, 1.0], True)]


def test_a_source_that_was_good_before_keeps_its_tables(spark: "SparkSession", own: Settings) -> None:
    ingest(spark, own)
    before = rows(own, "events")
    _put(events__csv="user_id\nu1\n")(folder_of(own))
    with pytest.raises(DataError):
        ingest(spark, own)
    assert rows(own, "events") == before
