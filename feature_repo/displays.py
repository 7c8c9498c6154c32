"""What an answer shows of each item, in Redis: written where it changed and nowhere else."""

from pathlib import Path
from typing import Any

import orjson

from feature_repo.rows import display_key
from feature_repo.store import StoreError

BATCH = 1000  # commands per round trip
DISPLAYED = ("item_id", "title", "category", "brand", "price", "image_url", "tags")


def write_displays(client: Any, folder: Path) -> int:
    """Write what an answer shows of each item, where Redis holds something else; returns how many items there are."""
    import pyarrow.dataset as ds

    if not folder.exists():
        raise StoreError(f"{folder}: missing; run `python -m training validate` first")
    items = 0
    for batch in ds.dataset(folder, format="parquet").to_batches(columns=list(DISPLAYED), batch_size=BATCH):
        shown = ({name: value for name, value in item.items() if value is not None} for item in batch.to_pylist())
        if rows := {display_key(item["item_id"]): orjson.dumps(item) for item in shown}:
            before = dict(zip(rows, client.mget(list(rows)), strict=True))
            if changed := {key: row for key, row in rows.items() if before[key] != row}:
                client.mset(changed)
        items += len(rows)
    return items
