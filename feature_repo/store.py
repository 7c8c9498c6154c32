"""The feature store: Feast over the snapshots (offline) and Redis (online).

A request reads one packed user row (`feature_repo.rows`); Feast's own online rows are the fallback, and the reference
the packed rows must equal bit for bit. Feast is imported when first used: it is slow to load.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import orjson

from deploy.settings import Settings
from feature_repo.rows import UserRow
from feature_repo.schema import SCHEMA, Group
from feature_repo.vectors import Floats, columns_to_array, rows_to_array, sequence

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore

PROJECT = "trident"
HOURLY = "hourly.json"  # what the hourly path added to the features folder
FRAME_NAME = "_name_for_dask"
CONNECT_SECONDS = 2.0
READ_SECONDS = 5.0


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


def connect(settings: Settings) -> Any:
    """A Redis client; every timeout is explicit, nothing is retried."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis(
        host=settings.host,
        port=settings.redis_port,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=READ_SECONDS,
        retry=Retry(NoBackoff(), 0),  # the default is three more tries over seconds
    )


def apply(settings: Settings) -> "FeatureStore":
    """Register entities, views and the service of this schema."""
    from feature_repo.definitions import objects

    as_of(settings)
    store = open_store(settings)
    store.apply(objects(settings.features))
    return store


def as_of(settings: Settings) -> datetime:
    """The moment of the final snapshots. Raises StoreError when features were not computed with this schema."""
    path = settings.features / "splits.json"
    if not path.exists():
        raise StoreError(f"{path}: missing; run `python -m training features` first")
    stored = orjson.loads(path.read_bytes())
    if stored["schema"] != SCHEMA.hash:
        raise StoreError(f"{path}: schema {stored['schema']} is not {SCHEMA.hash}; run `python -m training features`")
    return datetime.fromisoformat(stored["as_of"]).astimezone(UTC)


def items_as_of(settings: Settings) -> datetime:
    """The moment of the newest item snapshots: the hourly path's where it ran since the daily one."""
    path, daily = settings.features / HOURLY, as_of(settings)
    if not path.exists():
        return daily
    stored = orjson.loads(path.read_bytes())
    return datetime.fromisoformat(stored["as_of"]).astimezone(UTC) if stored["schema"] == SCHEMA.hash else daily


def read_items(settings: Settings) -> tuple[list[str], Floats, Floats]:
    """All items as of the newest snapshots by Feast's offline read: ids, [n, ITEM_WIDTH], [n, CONTENT_WIDTH].

    Raises Feast's FeatureServiceNotFoundException when another schema was applied.
    """
    import pandas as pd

    from feature_repo.definitions import references, service_name

    _name_frames_at_random()
    store, now = open_store(settings), items_as_of(settings)
    store.get_feature_service(service_name())
    ids = sorted(final_rows(settings.features / "item_snapshots", now, ["item_id"])["item_id"].to_pylist())
    moments = pd.Series([now] * len(ids), dtype="datetime64[us, UTC]")
    entities = pd.DataFrame({"item_id": ids, "event_timestamp": moments})
    frame = store.get_historical_features(entity_df=entities, features=references("item", "content")).to_df()
    frame = frame.set_index("item_id").loc[ids]
    item, content = (columns_to_array(group, _columns(frame, group)) for group in ("item", "content"))
    return ids, item, content


def _name_frames_at_random() -> None:
    """Let Dask, which Feast's offline read runs on, name a frame once, at random.

    It names frames by a hash of every cell, again at each step, and for columns of lists that is a pickle per cell:
    nine tenths of the time of the read. A frame keeps its name while it lives; a copy of it gets another.
    """
    import pandas as pd
    from dask.tokenize import normalize_token

    def name(frame: Any) -> str:
        if FRAME_NAME not in frame.__dict__:
            object.__setattr__(frame, FRAME_NAME, uuid4().hex)
        return str(frame.__dict__[FRAME_NAME])

    normalize_token.register(pd.DataFrame, name)


async def user_row_async(store: "FeatureStore", user_id: str) -> UserRow | None:
    """Feast's online row of one user; None when the store holds nothing of the user."""
    from feature_repo.definitions import references

    entity, asked = {"user_id": user_id}, references("user", "history")
    answer = await store.get_online_features_async(features=asked, entity_rows=[entity])
    columns = answer.to_dict(include_event_timestamps=True)
    row = {name: columns[name][0] for name in names("user")}
    if all(value is None for value in row.values()):
        return None
    return UserRow(
        values=rows_to_array("user", [row])[0],
        history=sequence(columns["user_history"][0]),
        computed_at=max(int(columns[f"{name}__ts"][0]) for name in row),
    )


def names(group: Group) -> list[str]:
    """The group's features, in column order."""
    return [feature.name for feature in SCHEMA.group(group)]


def final_rows(folder: Path, now: datetime, columns: list[str]) -> "pa.Table":
    """The final snapshots of a folder."""
    import pyarrow.dataset as ds

    return ds.dataset(folder, format="parquet").to_table(columns=columns, filter=ds.field("event_timestamp") == now)


def _columns(frame: Any, group: Group) -> dict[str, Any]:
    """Columns of a group; a vector's as [n, width]."""
    return {
        feature.name: np.stack(frame[feature.name].to_list()) if feature.width > 1 else frame[feature.name].to_numpy()
        for feature in SCHEMA.group(group)
    }
