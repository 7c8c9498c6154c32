"""Training sees the history that serving had: the snapshot's, and what the user did since, up to the request."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from feature_repo.recent import DAY, MOST, Action, merged
from feature_repo.served import EVENT_TYPES
from feature_repo.vectors import history_entry, item_key, sequence
from training.pipeline.clock import served_day_at
from training.tables import recents

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SCHEMA = "user_id string, timestamp timestamp, item_key long, event_type string, day int"


def micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def events(rng: np.random.Generator) -> list[tuple[str, datetime, int, str, int]]:
    """Three days of ten users, one of them busier than what is kept; moments are distinct."""
    rows = []
    for user in range(10):
        count = 3 * MOST if user == 0 else 40
        for second in rng.choice(3 * 86_400, count, replace=False).tolist():
            at = MIDNIGHT - timedelta(days=2) + timedelta(seconds=second)
            kind = EVENT_TYPES[int(rng.integers(len(EVENT_TYPES)))]
            rows.append((f"u{user}", at, item_key(str(rng.integers(30))), kind, micros(at) // DAY))
    return rows


def test_the_history_of_an_example_is_the_one_serving_had(spark: "SparkSession") -> None:
    from training.pipeline.recent import with_recent

    rng = np.random.default_rng(5)
    done = events(rng)
    moments = [MIDNIGHT + timedelta(seconds=s) for s in (-60, 0, 1, 3599, 3600, 3601, 40_000, 86_399)]
    asked = [(f"u{user}", at, item) for user in (*range(10), 99) for at in moments for item in range(2)]
    rows = spark.createDataFrame(asked, "user_id string, timestamp timestamp, item int")
    table = with_recent(rows, spark.createDataFrame(done, SCHEMA)).orderBy("user_id", "timestamp", "item").toArrow()
    found = recents(table)
    before = sequence([history_entry(item_key("old"), 3)])
    nothing = 0
    for user, at, actions in zip(table["user_id"].to_pylist(), table["timestamp"].to_pylist(), found, strict=True):
        moment, since = micros(at), served_day_at(at) * DAY
        received = [Action(micros(t), key, 1, EVENT_TYPES.index(kind)) for u, t, key, kind, _ in done if u == user]
        latest = sorted((a for a in received if a.at < moment), reverse=True)[:MOST]
        expected = merged(before, latest, since - 1)  # the snapshot holds what was before its day
        assert merged(before, actions).tolist() == expected.tolist(), (user, at)
        nothing += not actions
    assert 0 < nothing < len(found) / 2
    assert found[0] is found[1]  # one request, one list


def test_features_from_before_there_was_such_a_column_have_nothing() -> None:
    import pyarrow as pa

    assert recents(pa.table({"user_id": ["a", "b"]})).tolist() == [(), ()]
