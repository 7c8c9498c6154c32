"""Daily partitions: what a second run reads, keeps and replaces, and that no run can leave half a table."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.settings import ROOT, Settings, child_environment
from tests.training.source_folder import HEADER, Content, day, folder_of, rows, source, write
from training.adapters.files.ingest import ingest
from training.adapters.files.partitions import FILE
from training.adapters.source import read_source
from training.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
LAST = 20
DAYS: dict[str, Content] = {f"events/date=2026-01-{n:02}/part.csv": day(f"2026-01-{n:02}") for n in range(1, LAST + 1)}


@pytest.fixture
def shop(spark: "SparkSession", tmp_path: Path) -> Settings:
    """Twenty days, ingested once."""
    settings = source(tmp_path, DAYS)
    result = ingest(spark, settings)
    assert result["events"] == LAST
    assert result["days"] == {"events": {"read": LAST, "kept": 0, "missing": [], "empty": []}}
    return settings


def _events(settings: Settings) -> dict[str, int]:
    """Events by the day of their folder."""
    folders = sorted((settings.raw / "events").iterdir())
    return {f.name: sum(pq.read_metadata(p).num_rows for p in f.glob("*.parquet")) for f in folders}


def _inodes(settings: Settings) -> dict[str, int]:
    files = (settings.raw / "events").rglob("*.parquet")
    return {path.parent.name: path.stat().st_ino for path in files}


def _replace(settings: Settings, files: dict[str, Content]) -> None:
    write(folder_of(settings), files)


def test_a_second_run_reads_the_overlap_and_changes_nothing(spark: "SparkSession", shop: Settings) -> None:
    before, inodes = _events(shop), _inodes(shop)
    again = ingest(spark, shop)
    assert again["days"]["events"] | {"read": 8, "kept": 12} == again["days"]["events"]
    assert _events(shop) == before
    linked = sorted(name for name, inode in _inodes(shop).items() if inodes[name] == inode)
    assert linked == [f"day=2026-01-{n:02}" for n in range(1, 13)]  # the same files, not copies
    assert not list(shop.workspace.glob("raw.*"))


def test_a_late_event_a_new_day_and_an_edited_day_are_read(spark: "SparkSession", shop: Settings) -> None:
    _replace(shop, {
        "events/date=2026-01-21/part.csv": day("2026-01-21", users=3),  # new
        "events/date=2026-01-18/late.csv": day("2026-01-17"),  # arrived late, in the day it arrived
        "events/date=2026-01-02/part.csv": day("2026-01-02", users=2),  # edited long after
    })  # fmt: skip
    result = ingest(spark, shop, overlap=0)
    assert (result["days"]["events"]["read"], result["days"]["events"]["kept"]) == (3, 18)
    events = _events(shop)
    assert (events["day=2026-01-21"], events["day=2026-01-18"], events["day=2026-01-02"]) == (3, 2, 2)
    assert result["events"] == sum(events.values()) == LAST + 3 + 1 + 1
    assert str(read_source(shop.raw).as_of) == "2026-01-21 12:00:00+00:00"


def test_today_is_read_again_however_small_the_overlap(spark: "SparkSession", shop: Settings) -> None:
    path = folder_of(shop) / f"events/date=2026-01-{LAST}/part.csv"
    stat = path.stat()
    path.write_text(day(f"2026-01-{LAST}").replace("view", "cart"))  # as long, and dated as before
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert ingest(spark, shop, overlap=0)["days"]["events"]["read"] == 1
    assert [row["event_type"] for row in rows(shop, "events") if row["timestamp"].day == LAST] == ["cart"]


def test_a_day_the_source_dropped_stays_until_all_is_read_again(spark: "SparkSession", shop: Settings) -> None:
    for n in (3, LAST - 1):
        shutil.rmtree(folder_of(shop) / f"events/date=2026-01-{n:02}")
    result = ingest(spark, shop)
    assert result["days"]["events"] == {"read": 7, "kept": 12, "missing": ["2026-01-19"], "empty": []}
    assert "day=2026-01-03" in _events(shop)
    result = ingest(spark, shop, full=True)
    assert result["days"]["events"]["missing"] == ["2026-01-03", "2026-01-19"]
    assert "day=2026-01-03" not in _events(shop)


def test_an_empty_day_and_a_missing_day_are_reported(spark: "SparkSession", tmp_path: Path) -> None:
    columns = {"request_id": ["r"], "user_id": ["u"], "item_id": ["i"], "position": [1], "timestamp": ["2026-01-01"]}
    shown = pa.table(columns)
    settings = source(tmp_path, {
        "events/2026-01-01/a.csv": day("2026-01-01"), "events/2026-01-02/a.csv": HEADER,
        "events/2026-01-05/hour=03/a.csv": day("2026-01-05"), "events/2026-01-05/_temporary/b.csv": "half",
        "impressions/date=2026-01-01/a.parquet": shown.slice(0, 0),
    })  # fmt: skip
    for overlap in (7, 0):
        result = ingest(spark, settings, overlap=overlap)
        assert result["days"]["events"]["missing"] == ["2026-01-03", "2026-01-04"]
        assert result["days"]["events"]["empty"] == ["2026-01-02"]
        assert result["days"]["impressions"]["empty"] == ["2026-01-01"]
        assert (result["events"], rows(settings, "impressions")) == (2, [])
    assert read_source(settings.raw).has_impressions


def test_other_canonical_columns_are_read_again(spark: "SparkSession", shop: Settings) -> None:
    path = shop.raw / FILE
    stored = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps(stored | {"columns": "others"}))
    assert ingest(spark, shop)["days"]["events"]["read"] == LAST


def test_a_bad_day_leaves_the_tables_of_before(spark: "SparkSession", shop: Settings) -> None:
    before = _events(shop), (shop.raw / FILE).read_bytes()
    _replace(shop, {"events/date=2026-01-21/part.parquet": b"PAR1 cut short"})
    with pytest.raises(DataError, match=r"date=2026-01-21/part.parquet: cannot be read as Parquet"):
        ingest(spark, shop)
    assert (_events(shop), (shop.raw / FILE).read_bytes()) == before
    assert not list(shop.workspace.glob("raw.*"))


def test_a_killed_run_leaves_the_tables_of_before_and_the_next_one_completes(
    spark: "SparkSession", shop: Settings
) -> None:
    before = _events(shop)
    _replace(shop, {f"events/date=2026-01-{n}/part.csv": day(f"2026-01-{n}", users=9) for n in range(21, 29)})
    _kill_while_writing(shop)
    assert _events(shop) == before
    shop.raw.rename(shop.raw.with_name("raw.previous"))  # as if killed between the two renames
    result = ingest(spark, shop)
    assert result["days"]["events"] == {"read": 8, "kept": LAST, "missing": [], "empty": []}
    assert result["events"] == sum(_events(shop).values()) == LAST + 8 * 9
    assert not list(shop.workspace.glob("raw.*"))


def _kill_while_writing(settings: Settings) -> None:
    command = [sys.executable, "-m", "training", "ingest", "--full"]
    variables: dict[str, Any] = child_environment(settings.model_copy(update={"spark_memory": "1g"}))
    with subprocess.Popen(command, env=variables, cwd=ROOT, start_new_session=True) as child:
        while not (settings.raw.with_name("raw.partial") / "events").exists():
            assert child.poll() is None
            time.sleep(0.01)
        os.killpg(child.pid, signal.SIGKILL)
