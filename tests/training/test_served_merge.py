"""The collected log beside a source's raw tables: what is there, what now means, and whose request an event was."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.settings import Settings
from tests.ports import isolated_settings
from tests.training.served_log import moment
from tests.training.shop import rows as table_of
from training.adapters.canonical import SCHEMAS, write_raw
from training.adapters.ingest import ingest
from training.adapters.source import Source, Windows, read_source
from training.daily.volume import rows_by_day
from training.served import parts
from training.served.entries import TABLES
from training.served.merge import ATTRIBUTION, Merge, attributed

AS_OF = moment("2026-03-01T00:30:00")
MINUTE = timedelta(minutes=1)
SOURCE = Source(name="files", has_impressions=False, windows=Windows(train=40, validation=7, test=7))


def shown(at: datetime, request: str, item: str = "i", user: str = "u") -> dict[str, Any]:
    return {"request_id": request, "user_id": user, "item_id": item, "position": 1, "timestamp": at}


def acted(at: datetime, request: str | None, item: str = "i", user: str = "u", kind: str = "click") -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "event_type": kind, "timestamp": at, "request_id": request,
            "event_id": f"{at} {kind}"}  # fmt: skip


def collected(folder: Path, table: str, rows: list[dict[str, Any]]) -> None:
    """One collected file for each row."""
    for n, row in enumerate(rows, 1):
        parts.write_part(folder, table, row["timestamp"].date(), parts.part_name(n, "1-1", "2-1", "parquet"), [row])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return isolated_settings(tmp_path, source="files")


def written(settings: Settings, source: Source = SOURCE, pinned: bool = False) -> Merge:
    """Raw tables of a source with one event at AS_OF, and the log."""
    merge = Merge(folder=settings.served)
    tables = {"events": table_of("events", [acted(AS_OF, None)])}
    write_raw(settings.raw, source, tables, merge=lambda raw, known: merge(raw, known, pinned))
    return merge


def events(settings: Settings) -> list[dict[str, Any]]:
    paths = (settings.raw / "events").rglob("*.parquet")
    found = [pq.read_table(path, partitioning=None).select(SCHEMAS["events"].names) for path in paths]
    return sorted(pa.concat_tables(found).to_pylist(), key=lambda row: row["timestamp"])


def test_the_log_lies_beside_the_source_and_now_moves_on(settings: Settings) -> None:
    late, later = AS_OF + MINUTE, AS_OF + timedelta(days=1)
    collected(settings.served, "events", [acted(late, "r1"), acted(later, "r2")])
    collected(settings.served, "impressions", [shown(late, "r1"), shown(late, "r1", "other"), shown(later, "r2")])
    merge = written(settings)
    assert merge.told() == {"served": {"events": 2, "impressions": 3, "attributed": 0}}
    assert [row["timestamp"] for row in events(settings)] == [AS_OF, late, later]
    assert read_source(settings.raw).as_of == later
    assert rows_by_day(settings.raw / "events") == {AS_OF.date(): 2, later.date(): 1}
    path = next((settings.raw / "events/served").rglob("*.parquet"))
    assert path.stat().st_nlink == 2  # nothing is copied


def test_without_a_log_nothing_changes(settings: Settings) -> None:
    merge = written(settings)
    assert merge.rows == {"events": 0, "impressions": 0}
    assert read_source(settings.raw) == SOURCE.at(AS_OF)
    assert [path.name for path in (settings.raw / "events").iterdir()] == ["part-0.parquet"]


def test_a_declared_now_stays_and_what_came_later_stays_out(settings: Settings) -> None:
    collected(settings.served, "events", [acted(AS_OF - MINUTE, "r1"), acted(AS_OF + timedelta(days=1), "r2")])
    merge = written(settings, SOURCE.at(AS_OF), pinned=True)
    assert merge.rows["events"] == 1
    assert read_source(settings.raw).as_of == AS_OF


@pytest.mark.parametrize(("days", "has"), [(39, False), (41, True)])
def test_impressions_are_the_examples_once_they_cover_the_windows(settings: Settings, days: int, has: bool) -> None:
    first = AS_OF - timedelta(days=days)
    collected(settings.served, "impressions", [shown(first, "r1")])
    written(settings)
    assert read_source(settings.raw).has_impressions is has


def test_an_event_without_a_request_belongs_to_the_latest_impression_in_half_an_hour() -> None:
    at = AS_OF
    impressions = [
        shown(at - 2 * MINUTE, "before"), shown(at - MINUTE, "latest"), shown(at + MINUTE, "after"),
        shown(at - MINUTE, "of another", user="v"), shown(at - MINUTE, "of another item", "j"),
        shown(at - ATTRIBUTION, "just", "k"), shown(at - ATTRIBUTION - timedelta(microseconds=1), "too old", "l"),
    ]  # fmt: skip
    asked = [acted(at, None), acted(at, "its own"), acted(at, None, "k"), acted(at, None, "l"), acted(at, None, "none")]
    found = attributed(table_of("events", asked), table_of("impressions", impressions))
    assert [None if request is None or request != request else request for request in found] == [
        "latest", "its own", "just", None, None,
    ]  # fmt: skip


def test_attribution_reaches_over_midnight_and_keeps_every_other_value(settings: Settings) -> None:
    before, after = moment("2026-03-01T23:50:00"), moment("2026-03-02T00:10:00")
    collected(settings.served, "impressions", [shown(before, "r1")])
    collected(settings.served, "events", [acted(after, None), acted(after, "r9", "j", kind="view")])
    assert written(settings).attributed == 1
    joined = {row["item_id"]: row for row in events(settings) if row["timestamp"] == after}
    assert joined["i"] == table_of("events", [acted(after, "r1")]).to_pylist()[0]
    assert joined["j"]["request_id"] == "r9"
    path = next((settings.raw / "events/served/day=2026-03-02").iterdir())
    assert pq.read_schema(path).equals(TABLES["events"])


def test_events_before_any_impression_stay_without_a_request(settings: Settings) -> None:
    collected(settings.served, "events", [acted(AS_OF, None)])
    assert written(settings).attributed == 0
    assert [row["request_id"] for row in events(settings)] == [None, None]


def test_only_a_live_source_takes_the_log_in_unasked(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)  # the sample
    collected(settings.served, "events", [acted(moment("2026-10-02"), "r1")])
    assert "served" not in ingest(settings)
    assert ingest(settings, served=True)["served"]["events"] == 1
    assert read_source(settings.raw).as_of == moment("2026-10-02")
    assert "served" not in ingest(settings, served=False)
    assert read_source(settings.raw).as_of == moment("2026-10-01")
