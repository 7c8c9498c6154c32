"""Item features in Feast's online store, as its documentation does it: a view that is online, read for many entities.

Trident itself keeps items out of the online store; this view and its registry are the peers' own, in the same Redis.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.settings import Settings
from feature_repo.definitions import ITEM, VIEWS, references, view
from feature_repo.schema import SCHEMA
from feature_repo.store import CONNECT_SECONDS, READ_SECONDS
from feature_repo.vectors import Floats, columns_to_array

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore

PROJECT = "peers"
BATCH = 2000
FEATURES = references("item")


def open_items(settings: Settings) -> "FeatureStore":
    """Feast over the stack's Redis with a registry of its own."""
    from feast import FeatureStore, RepoConfig

    folder = settings.workspace / "perf" / "feast"
    folder.mkdir(parents=True, exist_ok=True)
    options = f"db=0,socket_connect_timeout={CONNECT_SECONDS},socket_timeout={READ_SECONDS}"
    config = RepoConfig(
        project=PROJECT,
        provider="local",
        registry={"registry_type": "file", "path": str(folder / "registry.db"), "cache_ttl_seconds": 0},
        offline_store={"type": "dask"},
        online_store={"type": "redis", "connection_string": f"{settings.host}:{settings.redis_port},{options}"},
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    return FeatureStore(config=config)


def write_items(store: "FeatureStore", settings: Settings, ids: Sequence[str], features: Floats) -> None:
    """Register the view and write a row for each id; `features` is [n, ITEM_WIDTH]."""
    items = view("item", settings.features)
    items.online = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's own deprecations
        store.apply([ITEM, items])
        for start in range(0, len(ids), BATCH):
            part = slice(start, start + BATCH)
            store.write_to_online_store(VIEWS["item"], _frame(ids[part], features[part]))


def read_items(store: "FeatureStore", ids: Sequence[str]) -> Floats:
    """Online features of the ids, in their order: [n, ITEM_WIDTH]."""
    entities: list[dict[str, Any]] = [{"item_id": item_id} for item_id in ids]
    columns = store.get_online_features(features=FEATURES, entity_rows=entities).to_dict()
    return columns_to_array("item", columns)


def _frame(ids: Sequence[str], features: Floats) -> "pd.DataFrame":
    import pandas as pd

    columns: dict[str, Any] = {"item_id": list(ids)}
    for feature in SCHEMA.group("item"):
        block = features[:, SCHEMA.columns(feature.name)]
        columns[feature.name] = list(block) if feature.width > 1 else np.ascontiguousarray(block[:, 0])
    moment = pd.Timestamp.now(tz="UTC")
    return pd.DataFrame(columns).assign(event_timestamp=moment, created_timestamp=moment)
