"""The feature store: Feast over the snapshots (offline) and Redis (online), and the packed rows next to it.

A request reads one packed user row per key `user:<schema>:<id>`; Feast's own online rows are the fallback and the
reference the packed rows must equal bit for bit. Feast is imported when first used: it is slow to load.
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson

from deploy.settings import Settings
from feature_repo.schema import SCHEMA
from feature_repo.vectors import columns_to_array, display_key, marker_key, pack_user_row, rows_to_array, user_key

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore

Floats = npt.NDArray[np.float32]

PROJECT = "trident"
CONNECT_SECONDS = 2.0
READ_SECONDS = 5.0
PIPELINE = 1000  # commands per round trip
DISPLAYED = ("item_id", "title", "category", "brand", "price", "image_url", "tags")


class StoreError(RuntimeError):
    """The store cannot be used: nothing materialised, or Redis does not answer. The message says what to do."""


def open_store(settings: Settings) -> "FeatureStore":
    """Feast on the workspace's registry and Redis; every timeout is explicit."""
    from feast import FeatureStore, RepoConfig

    folder = settings.workspace / "feast"
    folder.mkdir(parents=True, exist_ok=True)
    options = f"db=0,socket_connect_timeout={CONNECT_SECONDS},socket_timeout={READ_SECONDS}"
    online = {
        "type": "redis",
        "connection_string": f"{settings.host}:{settings.redis_port},{options}",
        "skip_dedup": True,  # the same as_of computed again must replace what is there
    }
    config = RepoConfig(
        project=PROJECT,
        provider="local",
        registry={"registry_type": "file", "path": str(folder / "registry.db")},
        offline_store={"type": "dask"},
        online_store=online,
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    return FeatureStore(config=config)


def apply(settings: Settings) -> "FeatureStore":
    """Register entities, views and the service of this schema."""
    from feature_repo.definitions import objects

    as_of(settings)
    store = open_store(settings)
    store.apply(objects(settings.features))
    return store


def materialize(settings: Settings) -> dict[str, Any]:
    """Write the final snapshots to Redis: Feast's rows, packed user rows, what is shown of items, then the marker.

    Returns the marker: users, items, as_of, at. Raises StoreError; the marker is then as it was.
    """
    import redis

    store, now = apply(settings), as_of(settings)
    try:
        with connect(settings) as client:
            client.ping()
            with contextlib.redirect_stdout(sys.stderr):
                store.materialize(start_date=now - timedelta(seconds=1), end_date=now, disable_event_timestamp=False)
            users = _set_all(client, _packed_rows(settings, now))
            items = _set_all(client, _displays(settings))
            marker = {"users": users, "items": items, "as_of": now.isoformat(), "at": datetime.now(UTC).isoformat()}
            client.set(marker_key(), orjson.dumps(marker))
    except redis.RedisError as error:
        where = f"{settings.host}:{settings.redis_port}"
        raise StoreError(f"Redis at {where}: {error}; start redis-server there or set TRIDENT_REDIS_PORT") from None
    return marker


def connect(settings: Settings) -> Any:
    """A Redis client; every timeout is explicit, nothing is retried."""
    import redis

    return redis.Redis(
        host=settings.host,
        port=settings.redis_port,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=READ_SECONDS,
    )


def as_of(settings: Settings) -> datetime:
    """The moment of the final snapshots. Raises StoreError when features were not computed with this schema."""
    path = settings.features / "splits.json"
    if not path.exists():
        raise StoreError(f"{path}: missing; run `python -m training features` first")
    stored = orjson.loads(path.read_bytes())
    if stored["schema"] != SCHEMA.hash:
        raise StoreError(f"{path}: schema {stored['schema']} is not {SCHEMA.hash}; run `python -m training features`")
    return datetime.fromisoformat(stored["as_of"]).astimezone(UTC)


def read_items(settings: Settings) -> tuple[list[str], Floats]:
    """All items as of the final snapshot through Feast's offline read: ids in order, [n, ITEM_WIDTH] float32.

    Raises Feast's FeatureServiceNotFoundException when another schema was applied.
    """
    import pandas as pd

    from feature_repo.definitions import references, service_name

    store, now = open_store(settings), as_of(settings)
    store.get_feature_service(service_name())
    ids = sorted(_final(settings.features / "item_snapshots", now, ["item_id"])["item_id"].to_pylist())
    moments = pd.Series([now] * len(ids), dtype="datetime64[us, UTC]")
    entities = pd.DataFrame({"item_id": ids, "event_timestamp": moments})
    frame = store.get_historical_features(entity_df=entities, features=references("item")).to_df()
    frame = frame.set_index("item_id").loc[ids]
    return ids, columns_to_array("item", {name: frame[name].to_numpy() for name in _names("item")})


async def user_row_async(store: "FeatureStore", user_id: str) -> tuple[Floats, int] | None:
    """Feast's online row of one user: [USER_WIDTH] float32 and the unix second it was computed at.

    None when the store holds nothing of the user.
    """
    from feature_repo.definitions import references

    entity = {"user_id": user_id}
    answer = await store.get_online_features_async(features=references("user"), entity_rows=[entity])
    columns = answer.to_dict(include_event_timestamps=True)
    row = {name: columns[name][0] for name in _names("user")}
    if all(value is None for value in row.values()):
        return None
    values: Floats = rows_to_array("user", [row])[0]
    return values, max(int(columns[f"{name}__ts"][0]) for name in row)


def _names(group: Any) -> list[str]:
    return [feature.name for feature in SCHEMA.group(group)]


def _final(folder: Path, now: datetime, columns: list[str]) -> "pa.Table":
    """The final snapshots of a folder."""
    import pyarrow.dataset as ds

    return ds.dataset(folder, format="parquet").to_table(columns=columns, filter=ds.field("event_timestamp") == now)


def _packed_rows(settings: Settings, now: datetime) -> Iterator[tuple[str, bytes]]:
    names = _names("user")
    for batch in _final(settings.features / "user_snapshots", now, ["user_id", *names]).to_batches(PIPELINE):
        columns = {name: batch[name].to_numpy(zero_copy_only=False) for name in names}
        rows = columns_to_array("user", columns)
        for user_id, row in zip(batch["user_id"].to_pylist(), rows, strict=True):
            yield user_key(user_id), pack_user_row(row, int(now.timestamp()))


def _displays(settings: Settings) -> Iterator[tuple[str, bytes]]:
    import pyarrow.dataset as ds

    folder = settings.tables / "items"
    if not folder.exists():
        raise StoreError(f"{folder}: missing; run `python -m training validate` first")
    for batch in ds.dataset(folder, format="parquet").to_batches(columns=list(DISPLAYED), batch_size=PIPELINE):
        for item in batch.to_pylist():
            shown = {name: value for name, value in item.items() if value is not None}
            yield display_key(item["item_id"]), orjson.dumps(shown)


def _set_all(client: Any, pairs: Iterable[tuple[str, bytes]]) -> int:
    """Write in pipelines; returns how many."""
    pending, total = client.pipeline(transaction=False), 0
    for total, (key, value) in enumerate(pairs, 1):
        pending.set(key, value)
        if total % PIPELINE == 0:
            pending.execute()
    pending.execute()
    return total
