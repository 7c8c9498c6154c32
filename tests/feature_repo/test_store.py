"""The store answers what was materialised: Feast and packed rows agree bit for bit. Real Redis, real Feast."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pyarrow.parquet as pq
import pytest

from deploy.settings import Settings
from feature_repo import store
from feature_repo.materialize import materialize
from feature_repo.rows import UserRow, unpack_user_row, user_key
from feature_repo.schema import CONTENT_WIDTH, ITEM_WIDTH, SCHEMA
from feature_repo.store import connect
from tests.feature_repo.workspace import AS_OF, ITEMS, USERS, final_rows, write_features
from tests.ports import isolated_settings
from tests.redis_server import redis_server

pytestmark = pytest.mark.filterwarnings("ignore")  # Feast and Dask warn about their own dependencies


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A workspace with random snapshots, materialised into a Redis of its own."""
    with redis_server() as port:
        workspace = isolated_settings(tmp_path_factory.mktemp("store"), redis_port=port)
        write_features(workspace)
        materialize(workspace)
        yield workspace


def feast_rows(settings: Settings, users: list[str]) -> list[UserRow | None]:
    async def read() -> list[UserRow | None]:
        feast = store.open_store(settings)
        await feast.initialize()
        try:
            return [await store.user_row_async(feast, user) for user in users]
        finally:
            await feast.close()

    return asyncio.run(read())


def test_packed_rows_equal_feast_online_rows_bit_for_bit(settings: Settings) -> None:
    expected = final_rows(settings, "user")
    with connect(settings) as client:
        packed = [unpack_user_row(client.get(user_key(user))) for user in USERS]
    for user, one, other in zip(USERS, feast_rows(settings, USERS), packed, strict=True):
        assert one is not None
        assert one.values.tobytes() == other.values.tobytes() == expected[user].tobytes()
        assert one.history.tobytes() == other.history.tobytes()
        assert np.count_nonzero(other.history) == 2
        assert one.computed_at == other.computed_at == AS_OF.timestamp()


def test_a_user_without_a_row_is_none(settings: Settings) -> None:
    assert feast_rows(settings, ["nobody"]) == [None]


def test_items_are_read_through_feast_as_of_the_final_snapshot(settings: Settings) -> None:
    ids, item, content = store.read_items(settings)
    expected = final_rows(settings, "item")
    assert ids == sorted(ITEMS)
    assert (item.shape, content.shape) == ((3, ITEM_WIDTH), (3, CONTENT_WIDTH))
    assert item.tobytes() == np.stack([expected[i] for i in ids]).tobytes()


def test_the_historical_read_is_an_as_of_join(settings: Settings) -> None:
    """Feast's answer at any moment equals the last row at or before it, found here by a loop."""
    from feature_repo.definitions import references

    rng = np.random.default_rng(5)
    moments = [AS_OF - timedelta(hours=float(h)) for h in rng.uniform(-10, 60, 40)]
    asked = pd.DataFrame({"user_id": rng.choice(USERS, 40), "event_timestamp": pd.to_datetime(moments, utc=True)})
    feast = store.open_store(settings)
    found = feast.get_historical_features(entity_df=asked, features=references("user")).to_df()
    by_key = {(row["user_id"], row["event_timestamp"]): row for row in found.to_dict("records")}
    rows = pq.read_table(settings.features / "user_snapshots").to_pylist()
    answered = 0
    for user, moment in asked.itertuples(index=False):
        served = [row for row in rows if row["user_id"] == user and row["event_timestamp"] <= moment]
        if not served:  # Feast leaves such a row out
            assert (user, moment) not in by_key
            continue
        last = max(served, key=lambda row: row["event_timestamp"])
        answer = by_key[user, moment]
        assert all(np.array_equal(answer[f.name], last[f.name]) for f in SCHEMA.group("user"))
        answered += 1
    assert 0 < answered < len(asked)


def test_features_of_another_schema_are_refused(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)
    with pytest.raises(store.StoreError, match="training features"):
        store.as_of(settings)
    settings.features.mkdir(parents=True)
    (settings.features / "splits.json").write_bytes(orjson.dumps({"as_of": AS_OF, "schema": "old"}))
    with pytest.raises(store.StoreError, match="schema old is not"):
        store.as_of(settings)


def test_an_occupied_port_is_refused(settings: Settings) -> None:
    with pytest.raises(RuntimeError, match=f"port {settings.redis_port}"), redis_server(settings.redis_port):
        pass


@pytest.mark.parametrize("module", ["store", "rows", "context", "vectors"])
def test_importing_it_stays_light(module: str) -> None:
    heavy = "{'pyspark', 'torch', 'lightgbm', 'feast', 'pandas'}"
    code = f"import feature_repo.{module}, sys; loaded = {heavy} & set(sys.modules); sys.exit(' '.join(loaded) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
