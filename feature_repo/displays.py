"""What an answer shows of each item, in Redis: written where it changed and nowhere else."""

import hashlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

from feature_repo.rows import display_key
from feature_repo.store import StoreError

BATCH = 1000  # commands per round trip
DISPLAYED = ("item_id", "title", "category", "brand", "price", "image_url", "tags")
# A hash: `table`, the fingerprint of the one whose rows Redis holds, and its `items`; `writer` while one is written.
WRITTEN = "displays:written"


def write_displays(client: Any, folder: Path, full: bool = False) -> int:
    """Write what an answer shows of each item, where Redis holds something else; returns how many items there are.

    A table that was written whole and has not changed since is not looked at again, unless `full` is said: that also
    brings back rows that got lost. Raises StoreError.
    """
    if not folder.exists():
        raise StoreError(f"{folder}: missing; run `python -m training validate` first")
    table = _fingerprint(folder)
    written, items = client.hmget(WRITTEN, "table", "items")
    if written == table and not full:
        return int(items)
    writer = uuid4().bytes
    client.delete(WRITTEN)
    client.hset(WRITTEN, "writer", writer)
    count = _write_changed(client, folder)
    if client.hget(WRITTEN, "writer") == writer:
        client.hset(WRITTEN, mapping={"table": table, "items": count})
    else:  # somebody wrote at the same time: nobody knows whose rows are there
        client.delete(WRITTEN)
    return count


def _write_changed(client: Any, folder: Path) -> int:
    import pyarrow.dataset as ds

    items = 0
    for batch in ds.dataset(folder, format="parquet").to_batches(columns=list(DISPLAYED), batch_size=BATCH):
        shown = ({name: value for name, value in item.items() if value is not None} for item in batch.to_pylist())
        if rows := {display_key(item["item_id"]): orjson.dumps(item) for item in shown}:
            before = dict(zip(rows, client.mget(list(rows)), strict=True))
            if changed := {key: row for key, row in rows.items() if before[key] != row}:
                client.mset(changed)
        items += len(rows)
    return items


def _fingerprint(folder: Path) -> bytes:
    """Of the files' names, sizes and times: they are replaced, never written into."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.blake2b(orjson.dumps(stats), digest_size=16).hexdigest().encode()
