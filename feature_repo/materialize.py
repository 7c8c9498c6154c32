"""Writing the final snapshots to Redis: packed user rows, Feast's rows, what is shown of items, then the marker.

Users and items come in batches, so memory stays bounded. Every packed row is written (its age starts anew); Feast's
much slower rows only where the packed row that is there says something else. That comparison is also the overlap with
earlier runs: whatever late data changed is written, whenever it happened.
"""

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from deploy.settings import Settings
from feature_repo.active import ACTIVITY, MostActive
from feature_repo.definitions import ONLINE, VIEWS
from feature_repo.displays import BATCH, write_displays
from feature_repo.rows import HEADER, UserRow, active_key, marker_key, pack_user_row, user_key
from feature_repo.schema import SCHEMA
from feature_repo.store import StoreError, apply, as_of, connect, names
from feature_repo.vectors import columns_to_array, sequence

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore


def materialize(settings: Settings, full: bool = False, displays: bool = True) -> dict[str, Any]:
    """Write what is online; returns the marker: users, changed, items, as_of, at.

    `full` writes Feast's rows of every user and looks at what is shown of every item; without `displays` the latter is
    left to the publisher. Raises StoreError; the marker is then as it was.
    """
    import redis

    store, now = apply(settings), as_of(settings)
    try:
        with connect(settings) as client:
            full = full or client.get(marker_key()) is None
            users, changed = _write_users(store, client, settings, now, full)
            items = write_displays(client, settings.tables / "items", full) if displays else 0
            marker = {"users": users, "changed": changed, "items": items, "as_of": now.isoformat(),
                      "at": datetime.now(UTC).isoformat()}  # fmt: skip
            client.set(marker_key(), orjson.dumps(marker))
    except redis.RedisError as error:
        where = f"{settings.host}:{settings.redis_port}"
        raise StoreError(f"Redis at {where}: {error}; start redis-server there or set TRIDENT_REDIS_PORT") from None
    return marker


def pack_batch(batch: "pa.RecordBatch", computed_at: int) -> dict[str, bytes]:
    """Packed rows of a batch of user snapshots, by Redis key."""
    columns = {name: _matrix(batch[name], SCHEMA.by_name[name].width) for name in names("user")}
    rows = columns_to_array("user", columns)
    histories = batch["user_history"].to_pylist()
    packed = (
        pack_user_row(UserRow(values=row, history=sequence(history), computed_at=computed_at))
        for row, history in zip(rows, histories, strict=True)
    )
    return dict(zip(map(user_key, batch["user_id"].to_pylist()), packed, strict=True))


def _write_users(store: "FeatureStore", client: Any, settings: Settings, now: datetime, full: bool) -> tuple[int, int]:
    users, changed, active = 0, 0, MostActive()
    for batch in _final_batches(settings.features / "user_snapshots", now):
        rows = pack_batch(batch, int(now.timestamp()))
        before = client.mget(list(rows))
        new = [full or _says_else(old, row) for old, row in zip(before, rows.values(), strict=True)]
        _write_feast(store, batch, np.array(new))
        client.mset(rows)  # last: a packed row that is there says that Feast has it as well
        users, changed = users + len(rows), changed + sum(new)
        active.add(batch["user_id"].to_pylist(), _matrix(batch[ACTIVITY], 1))
    client.set(active_key(), orjson.dumps(active.ids()))
    return users, changed


def _says_else(old: bytes | None, row: bytes) -> bool:
    """Whether two packed rows differ in more than when they were computed."""
    moment = HEADER.fields["computed_at"][0].itemsize if HEADER.fields else 0
    return old is None or old[moment:] != row[moment:]


def _write_feast(store: "FeatureStore", batch: "pa.RecordBatch", new: "np.ndarray[Any, np.dtype[np.bool_]]") -> None:
    if not new.any():
        return
    frame = batch.filter(new).to_pandas()
    for group in ONLINE:
        columns = ["user_id", "event_timestamp", "created_timestamp", *names(group)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty history is not an error
            store.write_to_online_store(VIEWS[group], frame[columns])


def _final_batches(folder: Path, now: datetime) -> Iterator["pa.RecordBatch"]:
    import pyarrow.dataset as ds

    columns = ["user_id", "event_timestamp", "created_timestamp", *names("user"), "user_history"]
    chosen = ds.field("event_timestamp") == now
    for batch in ds.dataset(folder, format="parquet").to_batches(columns=columns, filter=chosen, batch_size=BATCH):
        if batch.num_rows:
            yield batch


def _matrix(column: Any, width: int) -> Any:
    """A column as numpy: [n] or [n, width]."""
    if width == 1:
        return column.to_numpy(zero_copy_only=False)
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
