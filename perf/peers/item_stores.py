"""Ways to the features of one request's candidates: Feast, a hash for each item, a packed value, the resident table.

The first three are read from the stack's Redis over the same items, written by `fill`.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import redis

from deploy.settings import Settings
from deploy.triton.backends.faiss.records import Records
from feature_repo.schema import ITEM_WIDTH, SCHEMA
from feature_repo.vectors import Floats, Ints
from perf.peers.feast_items import open_items, read_items, write_items
from perf.peers.subset import Subset

FEAST, HASHES, PACKED, RESIDENT = "feast", "redis_hgetall", "redis_mget_packed", "resident"
Read = Callable[[Ints], Floats]  # places in the subset [k] → [k, ITEM_WIDTH]
COLUMNS = [name for feature in SCHEMA.group("item") for name in feature.columns]
BATCH = 1000
TIMEOUT_S = 10.0


def fill(settings: Settings, items: Subset, client: "redis.Redis") -> None:
    """Write the items' features in all three forms."""
    features = items.features
    write_items(open_items(settings), settings, items.ids, features)
    for start in range(0, len(items.ids), BATCH):
        pipeline = client.pipeline(transaction=False)
        for item_id, row in zip(items.ids[start : start + BATCH], features[start : start + BATCH], strict=True):
            pipeline.hset(_hash_key(item_id), mapping=dict(zip(COLUMNS, map(str, row.tolist()), strict=True)))
            pipeline.set(_packed_key(item_id), row.tobytes())
        pipeline.execute()


def empty(items: Subset, client: "redis.Redis") -> None:
    """Remove the hashes and the packed values; Feast's rows stay for the naive peer."""
    for start in range(0, len(items.ids), BATCH):
        ids = items.ids[start : start + BATCH]
        client.unlink(*map(_hash_key, ids), *map(_packed_key, ids))


def readers(settings: Settings, items: Subset, client: "redis.Redis") -> dict[str, Read]:
    """One reader for each way; all answer the same."""
    store, ids = open_items(settings), np.array(items.ids, object)
    table = Records(items.folder, json.loads((items.folder / "table.json").read_text()))
    return {
        FEAST: lambda places: read_items(store, list(ids[places])),
        HASHES: lambda places: _hashes(client, list(ids[places])),
        PACKED: lambda places: _packed(client, list(ids[places])),
        RESIDENT: lambda places: table.features(items.rows[places]),
    }


def _hashes(client: "redis.Redis", ids: Sequence[str]) -> Floats:
    pipeline = client.pipeline(transaction=False)
    for item_id in ids:
        pipeline.hgetall(_hash_key(item_id))
    names = [name.encode() for name in COLUMNS]
    return np.array([[float(row[name]) for name in names] for row in pipeline.execute()], np.float32)


def _packed(client: "redis.Redis", ids: Sequence[str]) -> Floats:
    values: Any = client.mget(map(_packed_key, ids))
    return np.frombuffer(b"".join(values), np.float32).reshape(len(ids), ITEM_WIDTH)


def _hash_key(item_id: str) -> str:
    return f"peers:hash:{item_id}"


def _packed_key(item_id: str) -> str:
    return f"peers:packed:{item_id}"
