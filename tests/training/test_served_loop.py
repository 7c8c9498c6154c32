"""The log closes the loop: what was shown and clicked is an example of the next training, with position and label."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from deploy.settings import Settings
from feature_repo.store import connect
from tests.redis_server import redis_server
from tests.training.served_log import Process, moment
from tests.training.source_folder import source
from training.served.command import Stop, collect
from training.served.merge import Merge

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
SHOWN = ["i4", "i2", "i0", "i3"]
SERVED = moment("2026-03-10T12:00:00")
SECOND = timedelta(seconds=1)
USERS = "user_id\n" + "".join(f"u{n}\n" for n in range(8))
ITEMS = "item_id,category,created_at\n" + "".join(f"i{n},books,2025-01-01\n" for n in range(8))
EVENTS = "user_id,item_id,event_type,timestamp\n" + "".join(
    f"u{n % 8},i{n % 5},view,2026-02-{day:02}T0{n}:00:00\n" for day in range(1, 29) for n in range(9)
)
IMPRESSIONS = "request_id,user_id,item_id,position,timestamp\nold,u0,i0,1,2026-02-02T00:00:00\n"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    files = {"users.csv": USERS, "items.csv": ITEMS, "events.csv": EVENTS, "impressions.csv": IMPRESSIONS}
    made = source(tmp_path_factory.mktemp("loop"), files)
    with redis_server() as port:
        yield made.model_copy(update={"redis_port": port})


def log(client: Any) -> None:
    """Two answers to known users, one to a stranger; a click that says its request and a purchase that does not."""
    serving = Process(client)
    serving.shows("r1", "u1", SHOWN, SERVED)
    serving.shows("r2", "u2", SHOWN, SERVED + SECOND)
    serving.shows("r3", "stranger", SHOWN, SERVED + SECOND)
    serving.acts("e1", "u1", "i2", "click", SERVED + 20 * SECOND, request_id="r1")
    serving.acts("e2", "u2", "i3", "purchase", SERVED + 40 * SECOND)
    serving.acts("e3", "u2", "i4", "click", SERVED + timedelta(hours=1))  # too late to be of any answer


@pytest.fixture(scope="module")
def examples(spark: "SparkSession", settings: Settings) -> pd.DataFrame:
    from training.adapters.files.ingest import ingest
    from training.pipeline.features import features
    from training.validation.validate import validate

    with connect(settings) as client:
        log(client)
    assert collect(settings, once=True, everything=False, beat_s=1, stop=Stop())["rows"]["impressions"] == 12
    ingest(spark, settings, merge=Merge(folder=settings.served))
    validate(spark, settings, allow_low_quality=True)
    features(spark, settings)
    return pd.read_parquet(settings.features / "examples").sort_values(["request_id", "position"])


def test_the_answer_is_examples_with_positions_and_its_click_is_the_label(examples: pd.DataFrame) -> None:
    rows = examples[examples.request_id == "r1"]
    assert list(zip(rows.item_id, rows.position, rows.clicked, rows.purchased, rows.grade, strict=True)) == [
        ("i4", 1, 0, 0, 0), ("i2", 2, 1, 0, 1), ("i0", 3, 0, 0, 0), ("i3", 4, 0, 0, 0),
    ]  # fmt: skip
    assert set(rows.timestamp) == {pd.Timestamp(SERVED)}
    assert set(rows.split) == {"test"}
    assert set(rows.placement) == {"home"}
    assert set(rows.device) == {"mobile"}


def test_a_purchase_that_says_no_request_is_its_latest_impressions(examples: pd.DataFrame) -> None:
    rows = examples[examples.request_id == "r2"]
    assert rows.purchased.tolist() == rows.clicked.tolist() == [0, 0, 0, 1]


def test_strangers_are_orphans_and_what_was_before_stays(examples: pd.DataFrame, settings: Settings) -> None:
    assert sorted(set(examples.request_id)) == ["old", "r1", "r2"]
    orphans = pq.read_table(settings.tables / "quarantine/impressions/reason=unknown_user_id", partitioning=None)
    assert set(orphans["request_id"].to_pylist()) == {"r3"}
