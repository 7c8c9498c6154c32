"""The hourly path says of the catalogue what a daily run at the same moment would say, and leaves the rest alone."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from deploy.settings import Settings
from feature_repo.schema import SCHEMA
from feature_repo.store import HOURLY, StoreError, items_as_of, read_items
from tests.ports import isolated_settings
from training.adapters.canonical import SCHEMAS, write_raw
from training.adapters.ingest import ingest
from training.adapters.source import read_source
from training.dataset import Dataset
from training.errors import DataError
from training.sample.world import AS_OF

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore")]  # Feast and Dask warn about their own imports
YESTERDAY = AS_OF - timedelta(hours=30)
BY_CATALOGUE = {"item_category", "item_brand", "item_price_band", "item_price_in_category", "item_text"}


@pytest.fixture(scope="module")
def workspaces(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Settings]:
    """A daily run at AS_OF; and one 30 hours before, without one item, brought up to date by the hourly path."""
    from training.pipeline.features import features
    from training.pipeline.hourly import hourly
    from training.validation.validate import validate

    daily, updated = (isolated_settings(tmp_path_factory.mktemp(name)) for name in ("daily", "updated"))
    ingest(daily)
    raw = _without_history({name: pq.read_table(daily.raw / name) for name in SCHEMAS})
    write_raw(daily.raw, read_source(daily.raw), raw)
    write_raw(updated.raw, read_source(daily.raw).at(YESTERDAY), _until(raw, YESTERDAY))
    for settings in (daily, updated):
        validate(spark, settings)
        features(spark, settings)
    with pytest.raises(DataError, match="is not after the features'"):
        hourly(spark, updated)
    write_raw(updated.raw, read_source(daily.raw), raw)
    document = hourly(spark, updated)
    assert document["items"] == raw["items"].num_rows
    assert document["new_items"] > 0
    assert document["fresh_events"] > 0
    again = hourly(spark, updated)
    assert again == {**document, "new_items": 0}
    return daily, updated


def _without_history(raw: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """The same shop, in which nothing happened to its last item and last user until the midnight before YESTERDAY."""
    midnight = YESTERDAY.replace(hour=0)
    for key, table in (("item_id", "items"), ("user_id", "users")):
        new = raw[table][key][-1]
        for name in ("events", "impressions"):
            late, other = pc.greater_equal(raw[name]["timestamp"], midnight), pc.not_equal(raw[name][key], new)
            raw[name] = raw[name].filter(pc.or_(late, other))
    return raw


def _until(raw: dict[str, pa.Table], moment: object) -> dict[str, pa.Table]:
    """What was there at a moment; the last item and the last user were not."""
    items, users = (raw[name].slice(0, raw[name].num_rows - 1) for name in ("items", "users"))
    known = {"users": users, "items": items.filter(pc.less_equal(items["created_at"], moment))}
    for name in ("events", "impressions"):
        happened = raw[name].filter(pc.less_equal(raw[name]["timestamp"], moment))
        of_items = happened.filter(pc.is_in(happened["item_id"], known["items"]["item_id"].combine_chunks()))
        known[name] = of_items.filter(pc.is_in(of_items["user_id"], users["user_id"].combine_chunks()))
    return known


def final(settings: Settings) -> pd.DataFrame:
    table = pd.read_parquet(settings.features / "item_snapshots")
    return table[table.event_timestamp == AS_OF].sort_values("item_id", ignore_index=True)


def test_it_equals_a_daily_run_at_the_same_moment(workspaces: tuple[Settings, Settings]) -> None:
    expected, found = map(final, workspaces)
    assert expected.item_id.tolist() == found.item_id.tolist()
    for feature in SCHEMA.group("item"):
        if feature.name not in BY_CATALOGUE:
            pairs = zip(expected[feature.name], found[feature.name], strict=True)
            assert all(np.array_equal(a, b) for a, b in pairs), feature.name


def test_codes_and_text_components_stay_the_daily_runs(workspaces: tuple[Settings, Settings]) -> None:
    _, updated = workspaces
    table = pd.read_parquet(updated.features / "item_snapshots")
    before = table[table.event_timestamp == YESTERDAY].set_index("item_id")
    after = table[table.event_timestamp == AS_OF].set_index("item_id").loc[before.index]
    for name in ("item_category", "item_brand", "item_price_band", "item_text"):
        assert all(np.array_equal(a, b) for a, b in zip(before[name], after[name], strict=True)), name


def test_users_and_examples_stay_as_they_were(workspaces: tuple[Settings, Settings]) -> None:
    _, updated = workspaces
    users = pd.read_parquet(updated.features / "user_snapshots")
    assert users.event_timestamp.max() == pd.Timestamp(YESTERDAY)
    facts = orjson.loads((updated.features / "splits.json").read_bytes())
    assert pd.Timestamp(facts["as_of"]) == pd.Timestamp(YESTERDAY)


def test_the_next_generation_reads_the_hourly_rows(workspaces: tuple[Settings, Settings]) -> None:
    from feature_repo.store import apply

    daily, updated = workspaces
    apply(updated)
    ids, rows, content = read_items(updated)
    assert items_as_of(updated) == AS_OF
    assert ids == final(daily).item_id.tolist()
    column = SCHEMA.offset("item_events_90d")
    np.testing.assert_array_equal(rows[:, column], final(daily).item_events_90d.to_numpy())
    assert content.any(axis=1).all()


def test_an_item_that_left_the_catalogue_is_gone_and_yesterdays_data_stays_readable(
    spark: "SparkSession", workspaces: tuple[Settings, Settings]
) -> None:
    from training.pipeline.hourly import hourly

    _, updated = workspaces
    raw = {name: pq.read_table(updated.raw / name) for name in SCHEMAS}
    left = raw["items"]["item_id"][0].as_py()
    later = AS_OF + timedelta(hours=1)
    write_raw(updated.raw, read_source(updated.raw).at(later), raw | {"items": raw["items"].slice(1)})
    hourly(spark, updated)
    rows = pd.read_parquet(updated.features / "item_snapshots")
    assert left not in set(rows[rows.event_timestamp == later].item_id)
    dataset = Dataset(updated.features)
    assert dataset.content_of(np.arange(len(dataset.items.rows))).any(axis=1).all()


def test_a_catalogue_below_the_minimum_quality_replaces_nothing(
    spark: "SparkSession", workspaces: tuple[Settings, Settings]
) -> None:
    from training.pipeline.hourly import hourly

    _, updated = workspaces
    raw = {name: pq.read_table(updated.raw / name) for name in SCHEMAS}
    before = pq.read_table(updated.tables / "items").num_rows
    ids = pa.array([None if n % 10 == 0 else i for n, i in enumerate(raw["items"]["item_id"].to_pylist())], pa.string())
    broken = raw["items"].set_column(0, "item_id", ids)
    write_raw(updated.raw, read_source(updated.raw).at(AS_OF + timedelta(hours=2)), raw | {"items": broken})
    with pytest.raises(DataError, match="rows are clean, below 95%"):
        hourly(spark, updated)
    assert pq.read_table(updated.tables / "items").num_rows == before


def test_an_hourly_run_of_another_schema_is_not_read(workspaces: tuple[Settings, Settings]) -> None:
    _, updated = workspaces
    path = updated.features / HOURLY
    kept = path.read_bytes()
    path.write_bytes(orjson.dumps(orjson.loads(kept) | {"schema": "old"}))
    try:
        assert items_as_of(updated) == YESTERDAY  # the daily run's
    finally:
        path.write_bytes(kept)


def test_without_a_daily_run_it_says_so(
    spark: "SparkSession", workspaces: tuple[Settings, Settings], tmp_path: Path
) -> None:
    from training.pipeline.hourly import hourly

    settings = isolated_settings(tmp_path)
    write_raw(settings.raw, read_source(workspaces[0].raw), {})
    with pytest.raises(StoreError, match="run `python -m training features` first"):
        hourly(spark, settings)
