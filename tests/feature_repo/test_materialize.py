"""Materialising is incremental, idempotent and loud: real Redis, real Feast."""

import asyncio
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from redis import RedisError

from deploy.settings import Settings
from feature_repo import store
from feature_repo.materialize import materialize
from feature_repo.rows import display_key, marker_key, unpack_user_row, user_key
from feature_repo.schema import SCHEMA
from feature_repo.store import connect
from tests.feature_repo.workspace import AS_OF, USERS, write_features
from tests.ports import free_port, isolated_settings
from tests.redis_server import redis_server

pytestmark = pytest.mark.filterwarnings("ignore")  # Feast and Dask warn about their own dependencies


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A workspace with random snapshots, materialised into a Redis of its own."""
    with redis_server() as port:
        workspace = isolated_settings(tmp_path_factory.mktemp("store"), redis_port=port)
        write_features(workspace)
        materialize(workspace)
        yield workspace


def age(settings: Settings, user: str, years: float) -> None:
    """Change one user's final row."""
    path = settings.features / "user_snapshots" / "part-0.parquet"
    table = pq.read_table(path)
    rows = table.select(["user_id", "event_timestamp"]).to_pylist()
    mine = [row == {"user_id": user, "event_timestamp": AS_OF} for row in rows]
    ages = np.where(mine, np.float32(years), table["user_age"].to_numpy())
    pq.write_table(table.set_column(table.column_names.index("user_age"), "user_age", pa.array(ages)), path)


def test_the_marker_and_what_is_shown_of_items(settings: Settings) -> None:
    with connect(settings) as client:
        marker = orjson.loads(client.get(marker_key()))
        shown = orjson.loads(client.get(display_key("i1")))
    assert (marker["users"], marker["changed"], marker["items"]) == (7, 7, 3)
    assert datetime.fromisoformat(marker["as_of"]) == AS_OF
    assert shown == {"item_id": "i1", "title": "Title i1", "price": 2.5, "tags": ["a"]}


def test_a_second_run_writes_nothing_to_feast(settings: Settings) -> None:
    assert materialize(settings)["changed"] == 0


def test_only_what_changed_is_written_to_feast_whenever_it_happened(settings: Settings) -> None:
    age(settings, "u1", 77)
    assert materialize(settings)["changed"] == 1
    row = asyncio.run(store.user_row_async(store.open_store(settings), "u1"))
    assert row is not None
    assert row.values[SCHEMA.offset("user_age")] == 77
    with connect(settings) as client:
        assert unpack_user_row(client.get(user_key("u1"))).values[SCHEMA.offset("user_age")] == 77


def test_full_writes_every_user_again(settings: Settings) -> None:
    assert materialize(settings, full=True)["changed"] == len(USERS)


def test_a_lost_packed_row_comes_back(settings: Settings) -> None:
    with connect(settings) as client:
        client.delete(user_key("u2"))
        assert materialize(settings)["changed"] == 1
        assert client.exists(user_key("u2"))


def test_a_full_redis_fails_leaves_the_marker_and_the_rows(settings: Settings) -> None:
    with connect(settings) as client:
        before = client.get(marker_key()), client.get(user_key("u1"))
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(store.StoreError, match="maxmemory"):
                materialize(settings)
        finally:
            client.config_set("maxmemory", "0")
        assert (client.get(marker_key()), client.get(user_key("u1"))) == before


def test_what_failed_between_the_two_stores_is_written_by_the_next_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feast import FeatureStore

    def full(*_: object, **__: object) -> None:
        raise RedisError("OOM")

    age(settings, "u1", 77)
    with monkeypatch.context() as broken:
        broken.setattr(FeatureStore, "write_to_online_store", full)
        with pytest.raises(store.StoreError, match="OOM"):
            materialize(settings)
    assert materialize(settings)["changed"] == 1


def test_no_redis_is_one_line(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"redis_port": free_port()})
    with pytest.raises(store.StoreError, match=f"Redis at 127.0.0.1:{elsewhere.redis_port}.*TRIDENT_REDIS_PORT"):
        materialize(elsewhere)
