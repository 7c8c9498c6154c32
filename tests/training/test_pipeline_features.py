"""Snapshots are what the store would have served: equal to a recomputation by hand, blind to what came later."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.settings import Settings
from feature_repo.schema import SCHEMA
from tests.ports import isolated_settings
from tests.training import reference
from training.adapters.canonical import SCHEMAS, write_raw
from training.adapters.ingest import ingest
from training.adapters.source import read_source
from training.sample.world import AS_OF

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
KEYS = {"user": "user_id", "item": "item_id"}
POISONED_FROM = AS_OF - timedelta(days=9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished workspace and its tables in memory."""

    settings: Settings
    raw: dict[str, pd.DataFrame]
    snapshots: dict[str, pd.DataFrame]
    examples: pd.DataFrame
    pairs: pd.DataFrame
    document: dict[str, Any]


def run(spark: "SparkSession", settings: Settings) -> Run:
    from training.pipeline.features import features
    from training.validation.validate import validate

    validate(spark, settings)
    features(spark, settings)
    return Run(
        settings=settings,
        raw={name: pq.read_table(settings.raw / name).to_pandas() for name in SCHEMAS},
        snapshots={g: pd.read_parquet(settings.features / f"{g}_snapshots") for g in KEYS},
        examples=pd.read_parquet(settings.features / "examples"),
        pairs=pd.read_parquet(settings.features / "pairs"),
        document=orjson.loads((settings.features / "splits.json").read_bytes()),
    )


@pytest.fixture(scope="module")
def clean(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = isolated_settings(tmp_path_factory.mktemp("clean"))
    ingest(settings)
    return run(spark, settings)


@pytest.fixture(scope="module")
def poisoned(spark: "SparkSession", clean: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = isolated_settings(tmp_path_factory.mktemp("poisoned"))
    raw = {name: pq.read_table(clean.settings.raw / name) for name in SCHEMAS}
    raw["events"] = pa.concat_tables([raw["events"], _absurd_events(raw["events"])])
    raw["impressions"] = pa.concat_tables([raw["impressions"], _absurd_impressions(raw["impressions"])])
    write_raw(settings.raw, read_source(clean.settings.raw), raw)
    return run(spark, settings)


def _absurd_events(events: pa.Table) -> pa.Table:
    """From the poisoned moment on, every user buys a thousand of one item at an absurd price, several times."""
    frame = events.to_pandas().drop_duplicates("user_id")
    late = [frame.assign(timestamp=pd.Timestamp(POISONED_FROM) + timedelta(minutes=n)) for n in range(5)]
    poison = pd.concat(late).assign(event_type="purchase", price=1e7, quantity=1000, request_id=None)
    return pa.Table.from_pandas(poison, schema=SCHEMAS["events"], preserve_index=False)


def _absurd_impressions(impressions: pa.Table) -> pa.Table:
    """From the poisoned moment on, every item is shown far down, again and again."""
    frame = impressions.to_pandas().drop_duplicates("item_id")
    late = [frame.assign(timestamp=pd.Timestamp(POISONED_FROM), request_id=f"poison{n}") for n in range(5)]
    poison = pd.concat(late).assign(position=100_000)
    return pa.Table.from_pandas(poison, schema=SCHEMAS["impressions"], preserve_index=False)


@pytest.mark.parametrize("group", ["user", "item"])
def test_later_events_change_no_snapshot_that_was_computed_before(clean: Run, poisoned: Run, group: str) -> None:
    keys = [KEYS[group], "event_timestamp"]
    both = clean.snapshots[group][keys].merge(poisoned.snapshots[group][keys])

    def before(run: Run) -> pd.DataFrame:
        table = run.snapshots[group]
        kept = table[table.created_timestamp <= POISONED_FROM]
        return kept.merge(both, on=keys).sort_values(keys, ignore_index=True)

    expected, actual = before(clean), before(poisoned)
    assert len(expected) > 1000
    assert len(expected) == len(actual)
    for name in expected.columns:
        equal = [np.array_equal(a, b) for a, b in zip(expected[name], actual[name], strict=True)]
        assert all(equal), name


@pytest.mark.parametrize("group", ["user", "item"])
def test_what_happened_but_could_not_be_served_yet_changes_no_example(clean: Run, poisoned: Run, group: str) -> None:
    """The poison is there from midnight; until 01:00 of the next day no snapshot that holds it is available."""
    key, snapshot = KEYS[group], f"{group}_snapshot"
    available = pd.Timestamp(POISONED_FROM) + timedelta(days=1, hours=1)

    def served(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.merge(run.snapshots[group], left_on=[key, snapshot], right_on=[key, "event_timestamp"])

    keys = ["request_id", "item_id"]
    shared = clean.examples.merge(poisoned.examples[keys], on=keys).sort_values(keys)
    during = shared[(shared.timestamp >= POISONED_FROM) & (shared.timestamp <= available)]
    after = shared[shared.timestamp > available]
    assert len(during) > 100
    for rows, same in ((during, True), (after, False)):
        one, other = served(clean, rows), served(poisoned, rows)
        equal = [
            len(one) == len(other)
            and all(np.array_equal(a, b) for a, b in zip(one[f.name], other[f.name], strict=True))
            for f in SCHEMA.group("user" if group == "user" else "item")
        ]
        assert all(equal) == same


def test_later_events_do_change_the_next_snapshot(clean: Run, poisoned: Run) -> None:
    final = {n: r.snapshots["user"].query("event_timestamp == @AS_OF") for n, r in (("c", clean), ("p", poisoned))}
    assert final["p"].user_spend_90d.mean() > 1000 * final["c"].user_spend_90d.mean()


@pytest.mark.parametrize("group", ["user", "item"])
def test_snapshots_equal_a_recomputation_by_hand(clean: Run, group: str) -> None:
    vocabulary = orjson.loads((clean.settings.features / "vocabulary.json").read_bytes())
    snapshots = clean.snapshots[group]
    chosen = pd.concat([snapshots.sample(25, random_state=1), snapshots[snapshots.event_timestamp == AS_OF].head(5)])
    for _, row in chosen.iterrows():
        until, now = reference.moments(row.event_timestamp, AS_OF)
        expected = (
            reference.user_row(clean.raw, vocabulary, row.user_id, until, now)
            if group == "user"
            else reference.item_row(clean.raw, row.item_id, until, now)
        )
        assert len(expected) >= 35
        for name, value in expected.items():
            np.testing.assert_array_equal(np.float32(row[name]), np.float32(value), err_msg=f"{name} of {row.iloc[:2]}")


def test_histories_equal_a_recomputation_by_hand(clean: Run) -> None:
    for _, row in clean.snapshots["user"].sample(40, random_state=2).iterrows():
        until, _ = reference.moments(row.event_timestamp, AS_OF)
        assert row.user_history.tolist() == reference.history(clean.raw, row.user_id, until)


@pytest.mark.parametrize("group", ["user", "item"])
def test_every_snapshot_an_example_needs_exists_once_and_was_available(clean: Run, group: str) -> None:
    key, snapshot = KEYS[group], f"{group}_snapshot"
    table = clean.snapshots[group]
    assert not table.duplicated([key, "event_timestamp"]).any()
    for rows in (clean.examples, clean.pairs):
        joined = rows.merge(table, left_on=[key, snapshot], right_on=[key, "event_timestamp"], how="left")
        assert joined.event_timestamp.notna().all()
        age = rows.timestamp - rows[snapshot]
        assert age.between(timedelta(0), timedelta(days=1), inclusive="right").all()


def test_snapshots_hold_every_feature_in_order_without_gaps(clean: Run) -> None:
    for group, table in clean.snapshots.items():
        features = SCHEMA.group(group)  # type: ignore[arg-type]
        more = ["user_history"] if group == "user" else []
        expected = [KEYS[group], "event_timestamp", "created_timestamp", *(f.name for f in features), *more]
        assert list(table.columns) == expected
        assert not table.isna().any().any()
        for feature in features:
            values = np.stack(table[feature.name]) if feature.width > 1 else table[feature.name].to_numpy()
            assert values.dtype == np.float32
            assert values.shape[1:] == ((feature.width,) if feature.width > 1 else ())
            if feature.cardinality:
                assert values.max() < feature.cardinality


def test_everyone_has_a_snapshot_at_the_start_of_each_window_and_at_the_end(clean: Run) -> None:
    users, items = clean.raw["users"], clean.raw["items"]
    for name in ("validation", "test", "final"):
        moment = pd.Timestamp(clean.document["snapshots"][name])
        start = AS_OF if name == "final" else pd.Timestamp(clean.document["boundaries"][f"{name}_start"])
        at = {g: set(t[t.event_timestamp == moment][KEYS[g]]) for g, t in clean.snapshots.items()}
        assert at["user"] == set(users.user_id)
        assert at["item"] >= set(items[items.created_at <= start].item_id)


def test_examples_carry_the_labels_of_their_request(clean: Run) -> None:
    events = clean.raw["events"].dropna(subset=["request_id"])
    grade = events.event_type.map({"click": 1, "add_to_cart": 2, "favorite": 2, "purchase": 3})
    best = grade.groupby([events.request_id, events.item_id]).max()
    keys = pd.MultiIndex.from_frame(clean.examples[["request_id", "item_id"]])
    expected = best.reindex(keys).fillna(0).to_numpy()
    assert (clean.examples.grade.to_numpy() == expected).all()
    assert (clean.examples.clicked.to_numpy() == (expected > 0)).all()
    assert (clean.examples.purchased.to_numpy() == (expected == 3)).all()
    assert (clean.examples.sampling_rate == 1.0).all()


def test_windows_follow_each_other_and_hold_what_the_document_says(clean: Run) -> None:
    at = {name: pd.Timestamp(moment) for name, moment in clean.document["boundaries"].items()}
    starts = {"train": at["train_start"], "validation": at["validation_start"], "test": at["test_start"]}
    ends = {"train": at["validation_start"], "validation": at["test_start"], "test": at["as_of"]}
    for split, rows in clean.examples.groupby("split"):
        assert rows.timestamp.between(starts[split], ends[split], inclusive="left").all()
        assert clean.document["counts"][split]["examples"] == len(rows)
    assert clean.document["schema"] == SCHEMA.hash
