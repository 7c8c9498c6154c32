"""The report: what is odd is listed, the page holds up whatever the data says, the metrics agree with it."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.settings import Settings
from tests.training.shop import Row, write_shop
from training.adapters.source import Source
from training.validation.page import percent
from training.validation.validate import validate

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
BOT, HOSTILE = "Ж\u202e|機械", "<script>alert('u')</script>"
CREATED = AS_OF - timedelta(days=400)


def _source(has_impressions: bool) -> Source:
    return Source(name="files", has_impressions=has_impressions, as_of=AS_OF)


def _events() -> list[Row]:
    """Ten events a day on days −30 … −2 but one, and two machines on day −5, one second apart."""
    quiet = [(HOSTILE, timedelta(days=day, minutes=n)) for day in range(2, 31) if day != 20 for n in range(1, 11)]
    busy = [(BOT, timedelta(days=4, seconds=n)) for n in range(1, 1202)]
    busier = [(HOSTILE, timedelta(days=4, hours=12, seconds=n)) for n in range(1, 1101)]
    return [
        {"user_id": user, "item_id": "i1", "event_type": "view", "timestamp": AS_OF - ago, "price": 1.0}
        for user, ago in [*quiet, *busy, *busier]
    ]


def _items() -> list[Row]:
    """As many categories as items."""
    return [
        {"item_id": f"i{n}", "category": f"$kind_{n}^ü", "created_at": CREATED, "price": 5.0 + n % 3} for n in range(60)
    ]


@pytest.fixture(scope="module")
def odd(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dict[str, Any]]:
    settings = write_shop(
        tmp_path_factory.mktemp("odd"),
        _source(False),
        users=[{"user_id": BOT}, {"user_id": HOSTILE}],
        items=[*_items(), {"item_id": "dear", "created_at": CREATED, "price": 1e6}],
        events=_events(),
    )  # fmt: skip
    return settings, validate(spark, settings)


@pytest.mark.spark
def test_what_is_odd_is_counted(odd: tuple[Settings, dict[str, Any]]) -> None:
    _, report = odd
    found = report["anomalies"]
    assert found["odd_days"] == ["2026-02-24"]
    assert found["empty_days"] == ["2026-02-08"]
    assert (found["bot_users"], found["bot_events"]) == (2, 2311)
    assert found["outliers"] == {"items price": 1, "events price": 0, "user-days events": 2}
    assert found["categories"] == 60
    assert found["other_category_share"] == pytest.approx(29 / 60)
    assert found["category_explosion"]


@pytest.mark.spark
def test_flagged_users_are_a_table(odd: tuple[Settings, dict[str, Any]]) -> None:
    settings, _ = odd
    flagged = pd.read_parquet(settings.tables / "anomalies" / "users")
    assert set(zip(flagged.user_id, flagged.day.astype(str), flagged.events, strict=True)) == {
        (BOT, "2026-02-24", 1201), (HOSTILE, "2026-02-24", 1110),
    }  # fmt: skip


class _Page(HTMLParser):
    """Tags, and attributes that make a browser load something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.mark.spark
def test_the_page_is_self_contained_and_escapes_what_the_data_says(odd: tuple[Settings, dict[str, Any]]) -> None:
    settings, _ = odd
    text = (settings.tables / "report.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert "script" not in page.tags
    assert page.loads
    assert all(value.startswith("data:image/svg+xml;base64,") for value in page.loads)
    for said in (BOT, "&lt;script&gt;alert", "$kind_1^ü", "category explosion: 60 categories for 31 codes"):
        assert said in text
    assert "impressions: " not in text


@pytest.mark.spark
def test_metrics_say_what_the_report_says(odd: tuple[Settings, dict[str, Any]]) -> None:
    settings, report = odd
    text = (settings.tables / "validation.prom").read_text()
    samples = {
        (sample.name.removeprefix("trident_validation_"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["rows", "clean", "events"] == report["tables"]["events"]["clean"]
    assert samples["rows", "duplicate", "events"] == 0
    assert samples["quality_ratio", "items"] == 1
    assert samples["as_of_timestamp_seconds",] == AS_OF.timestamp()
    assert samples["odd_days", "events"] == samples["empty_days", "events"] == samples["passed",] == 1
    assert samples["bot_users",] == 2
    assert samples["outliers", "items", "price"] == 1
    assert samples["other_category_ratio",] == report["anomalies"]["other_category_share"]


@pytest.mark.spark
def test_a_shop_without_a_row_has_a_report(spark: "SparkSession", tmp_path: Path) -> None:
    settings = write_shop(tmp_path, _source(True), users=[], items=[], events=[])
    report = validate(spark, settings)
    assert report["quality"] == 0.0
    assert report["anomalies"]["outliers"] == {}
    assert orjson.loads((settings.tables / "report.json").read_bytes())["tables"]["events"]["rows"] == 0
    assert "no rows" in (settings.tables / "report.html").read_text()
    assert pd.read_parquet(settings.tables / "events").columns[0] == "user_id"


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100 %"), (0.99999, "> 99.99 %"), (0.5, "50.00 %"), (1e-9, "< 0.01 %"), (0.0, "0 %")]
)
def test_a_share_is_whole_only_when_it_is(share: float, text: str) -> None:
    assert percent(share) == text
