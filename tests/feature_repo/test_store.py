"""Redis holds what the snapshots say: packed rows equal Feast's online rows bit for bit. Real Redis, real Feast."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.settings import Settings
from feature_repo import store
from feature_repo.schema import ITEM_WIDTH, SCHEMA, Group
from feature_repo.vectors import Floats, display_key, marker_key, rows_to_array, unpack_user_row, user_key
from tests.ports import free_port, isolated_settings
from tests.redis_server import redis_server

pytestmark = pytest.mark.filterwarnings("ignore")  # Feast and Dask warn about their own dependencies

AS_OF = datetime(2026, 10, 1, tzinfo=UTC)
USERS = [f"u{n}" for n in range(7)]
ITEMS = ["i3", "i1", "i2"]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A workspace with random snapshots, materialised into a Redis of its own."""
    with redis_server() as port:
        workspace = isolated_settings(tmp_path_factory.mktemp("store"), redis_port=port)
        _write_features(workspace)
        store.materialize(workspace)
        yield workspace


def _write_features(settings: Settings) -> None:
    rng = np.random.default_rng(3)
    days = [AS_OF - timedelta(days=2), AS_OF]
    for group, key, ids in (("user", "user_id", USERS), ("item", "item_id", ITEMS)):
        rows = [{key: i, "event_timestamp": d, "created_timestamp": d} | _random(group, rng) for d in days for i in ids]
        folder = settings.features / f"{group}_snapshots"
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, _schema(group, key)), folder / "part-0.parquet")
    (settings.features / "splits.json").write_bytes(orjson.dumps({"as_of": AS_OF, "schema": SCHEMA.hash}))
    (settings.tables / "items").mkdir(parents=True)
    items = [{"item_id": i, "title": f"Title {i}", "category": None, "price": 2.5, "tags": ["a"]} for i in ITEMS]
    texts = {"item_id": None, "title": None, "category": pa.string(), "brand": pa.string(), "image_url": pa.string()}
    columns = [(name, pa.string()) for name in texts] + [("price", pa.float64()), ("tags", pa.list_(pa.string()))]
    pq.write_table(pa.Table.from_pylist(items, pa.schema(columns)), settings.tables / "items" / "part-0.parquet")


def _random(group: Group, rng: np.random.Generator) -> dict[str, object]:
    def value(width: int) -> object:
        return rng.normal(size=width).tolist() if width > 1 else float(rng.normal())

    return {feature.name: value(feature.width) for feature in SCHEMA.group(group)}


def _schema(group: Group, key: str) -> pa.Schema:
    moments = [(name, pa.timestamp("us", tz="UTC")) for name in ("event_timestamp", "created_timestamp")]
    kinds = [(f.name, pa.list_(pa.float32()) if f.width > 1 else pa.float32()) for f in SCHEMA.group(group)]
    return pa.schema([(key, pa.string()), *moments, *kinds])


def _expected(settings: Settings, group: Group, key: str) -> dict[str, Floats]:
    rows = pq.read_table(settings.features / f"{group}_snapshots").to_pylist()
    return {row[key]: rows_to_array(group, [row])[0] for row in rows if row["event_timestamp"] == AS_OF}


def test_packed_rows_equal_feast_online_rows_bit_for_bit(settings: Settings) -> None:
    expected = _expected(settings, "user", "user_id")

    async def online() -> dict[str, tuple[Floats, int] | None]:
        feast = store.open_store(settings)
        await feast.initialize()
        try:
            return {user: await store.user_row_async(feast, user) for user in USERS}
        finally:
            await feast.close()

    rows = asyncio.run(online())
    with store.connect(settings) as client:
        for user in USERS:
            packed, computed_at = unpack_user_row(client.get(user_key(user)))
            row = rows[user]
            assert row is not None
            assert row[0].tobytes() == packed.tobytes() == expected[user].tobytes()
            assert row[1] == computed_at == AS_OF.timestamp()


def test_a_user_without_a_row_is_none(settings: Settings) -> None:
    async def online() -> tuple[Floats, int] | None:
        feast = store.open_store(settings)
        return await store.user_row_async(feast, "nobody")

    assert asyncio.run(online()) is None


def test_items_are_read_through_feast_as_of_the_final_snapshot(settings: Settings) -> None:
    ids, array = store.read_items(settings)
    expected = _expected(settings, "item", "item_id")
    assert ids == sorted(ITEMS)
    assert array.shape == (3, ITEM_WIDTH)
    assert array.tobytes() == np.stack([expected[i] for i in ids]).tobytes()


def test_marker_and_what_is_shown_of_items(settings: Settings) -> None:
    with store.connect(settings) as client:
        marker = orjson.loads(client.get(marker_key()))
        shown = orjson.loads(client.get(display_key("i1")))
    assert (marker["users"], marker["items"], marker["as_of"]) == (7, 3, AS_OF.isoformat())
    assert shown == {"item_id": "i1", "title": "Title i1", "price": 2.5, "tags": ["a"]}


def test_the_same_moment_computed_again_replaces_what_is_there(settings: Settings) -> None:
    path = settings.features / "user_snapshots" / "part-0.parquet"
    table = pq.read_table(path)
    ages = pa.array(np.full(len(table), 77, np.float32))
    pq.write_table(table.set_column(table.column_names.index("user_age"), "user_age", ages), path)
    store.materialize(settings)
    row = asyncio.run(store.user_row_async(store.open_store(settings), "u1"))
    assert row is not None
    assert row[0][SCHEMA.offset("user_age")] == 77


def test_a_full_redis_fails_and_leaves_the_marker(settings: Settings) -> None:
    with store.connect(settings) as client:
        before = client.get(marker_key())
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(store.StoreError, match="maxmemory"):
                store.materialize(settings)
        finally:
            client.config_set("maxmemory", "0")
        assert client.get(marker_key()) == before


def test_no_redis_is_one_line(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"redis_port": free_port()})
    with pytest.raises(store.StoreError, match=f"Redis at 127.0.0.1:{elsewhere.redis_port}.*TRIDENT_REDIS_PORT"):
        store.materialize(elsewhere)


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


def test_importing_the_store_stays_light() -> None:
    heavy = "{'pyspark', 'torch', 'lightgbm', 'feast', 'pandas'}"
    code = f"import feature_repo.store, sys; loaded = {heavy} & set(sys.modules); sys.exit(' '.join(loaded) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
