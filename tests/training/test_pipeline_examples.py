"""Where nothing was shown: groups are user days, negatives are drawn from what existed, the rate says how."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pandas as pd
import pytest

from tests.training.shop import Row, write_shop
from training.adapters.source import Source, Windows
from training.pipeline.examples import NEGATIVES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
AS_OF = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOURCE = Source(name="files", has_impressions=False, as_of=AS_OF, windows=Windows(train=40, validation=7, test=7))
ITEMS, LATE = 200, 50  # items; how many of them are created in the last days
TYPES = ("view", "click", "add_to_cart", "favorite", "purchase")


def _created(n: int) -> datetime:
    return AS_OF - (timedelta(days=2, hours=n) if n < LATE else timedelta(days=90, hours=n))


def _events() -> list[Row]:
    """Ten users act on three old items every other day; each day's first item is also bought later."""
    return [
        {"user_id": f"u{u}", "item_id": f"i{LATE + (7 * u + 3 * d + k) % (ITEMS - LATE)}",
         "event_type": TYPES[(u + d + k) % 5], "timestamp": AS_OF - timedelta(days=d, minutes=10 * k + u)}
        for u in range(10) for d in range(0, 50, 2) for k in range(3)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def examples(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    from training.pipeline.features import features
    from training.validation.validate import validate

    settings = write_shop(
        tmp_path_factory.mktemp("engaged"),
        SOURCE,
        users=[{"user_id": f"u{n}"} for n in range(10)],
        items=[{"item_id": f"i{n}", "created_at": _created(n)} for n in range(ITEMS)],
        events=_events(),
    )
    validate(spark, settings)
    features(spark, settings)
    first = pd.read_parquet(settings.features / "examples")
    features(spark, settings)
    document = orjson.loads((settings.features / "splits.json").read_bytes())
    assert document["has_impressions"] is False
    return {
        "first": first,
        "again": pd.read_parquet(settings.features / "examples"),
        "users": pd.read_parquet(settings.features / "user_snapshots"),
        "items": pd.read_parquet(settings.features / "item_snapshots"),
    }


def test_positives_are_the_events_inside_the_windows(examples: dict[str, pd.DataFrame]) -> None:
    rows = examples["first"]
    events = pd.DataFrame(_events())
    expected = events[events.timestamp >= AS_OF - timedelta(days=40)]
    positives = rows[rows.clicked == 1]
    assert len(positives) == len(expected)
    assert (positives.grade > 0).all()
    assert (positives.request_id == positives.user_id + "-" + positives.timestamp.dt.strftime("%Y-%m-%d")).all()


def test_negatives_existed_and_were_not_acted_on_in_their_group(examples: dict[str, pd.DataFrame]) -> None:
    rows = examples["first"]
    assert not rows.duplicated(["request_id", "item_id"]).any()
    created = rows.item_id.str[1:].astype(int).map(_created)
    assert (created <= rows.timestamp).all()
    negatives = rows[rows.clicked == 0]
    assert (negatives.grade == 0).all()
    assert 0.9 * NEGATIVES < len(negatives) / (rows.clicked == 1).sum() <= NEGATIVES


def test_negatives_are_uniform_over_what_existed(examples: dict[str, pd.DataFrame]) -> None:
    rows = examples["first"]
    early = rows[(rows.clicked == 0) & (rows.timestamp < AS_OF - timedelta(days=5))]
    counts = early.item_id.value_counts()
    assert len(counts) == ITEMS - LATE
    assert counts.min() > 0.4 * counts.mean()
    assert counts.max() < 1.8 * counts.mean()
    late = rows[(rows.clicked == 0) & (rows.timestamp > AS_OF - timedelta(days=1))]
    assert late.item_id.str[1:].astype(int).lt(LATE).mean() == pytest.approx(LATE / ITEMS, abs=0.12)


def test_the_rate_is_the_chance_of_being_drawn(examples: dict[str, pd.DataFrame]) -> None:
    rows = examples["first"]
    early = rows[rows.timestamp < AS_OF - timedelta(days=5)]
    expected = 1 - (1 - 1 / (ITEMS - LATE)) ** (3 * NEGATIVES)
    whole_days = early.groupby("request_id").clicked.transform("sum") == 3
    assert early[whole_days].sampling_rate.to_numpy() == pytest.approx(expected)
    negatives = (early[whole_days].clicked == 0).groupby(early.request_id).sum()
    assert (negatives / (ITEMS - LATE - 3)).mean() == pytest.approx(expected, rel=0.05)


def test_the_same_seed_draws_the_same_negatives(examples: dict[str, pd.DataFrame]) -> None:
    keys = ["request_id", "item_id"]
    first, again = (examples[name].sort_values(keys, ignore_index=True) for name in ("first", "again"))
    pd.testing.assert_frame_equal(first, again)


def test_without_impressions_a_click_rate_is_its_prior(examples: dict[str, pd.DataFrame]) -> None:
    assert set(examples["users"].user_ctr_30d) == {np.float32(0.05)}
    assert set(examples["items"].item_ctr_30d) == {np.float32(0.05)}


def test_the_final_snapshot_holds_the_last_event(examples: dict[str, pd.DataFrame]) -> None:
    users = examples["users"]
    final = users[users.event_timestamp == AS_OF].set_index("user_id")
    assert final.user_days_since_event["u0"] == 0
    assert final.user_unique_items["u0"] == len({e["item_id"] for e in _events() if e["user_id"] == "u0"})
