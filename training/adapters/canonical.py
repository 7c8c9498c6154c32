"""The canonical raw tables: their columns and types, and how a whole set of them is written at once."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo import served
from training.adapters.publish import publish
from training.adapters.source import Source, now_of, write_source
from training.errors import DataError

TIMESTAMP = pa.timestamp("us", tz="UTC")
TEXT = pa.string()
CONTEXT = {"os": TEXT, "language": TEXT, "time_zone": TEXT, "referrer": TEXT}  # of the request, where the source knows

SCHEMAS: dict[str, pa.Schema] = {
    "events": pa.schema({
        "user_id": TEXT, "item_id": TEXT, "event_type": TEXT, "timestamp": TIMESTAMP, "session_id": TEXT,
        "request_id": TEXT, "device": TEXT, "country": TEXT, "price": pa.float64(), "quantity": pa.int32(),
        "event_id": TEXT, **CONTEXT,
    }),
    "impressions": pa.schema({
        "request_id": TEXT, "user_id": TEXT, "item_id": TEXT, "position": pa.int32(), "timestamp": TIMESTAMP,
        "release": TEXT, "variant": TEXT, "placement": TEXT, "device": TEXT, "country": TEXT,
        "scores": pa.list_(pa.float32()), "session_id": TEXT, **CONTEXT,
    }),
    "items": pa.schema({
        "item_id": TEXT, "category": TEXT, "created_at": TIMESTAMP, "title": TEXT, "description": TEXT,
        "brand": TEXT, "price": pa.float64(), "tags": pa.list_(TEXT), "rating": pa.float64(),
        "review_count": pa.int64(), "in_stock": pa.bool_(), "regions": pa.list_(TEXT), "is_safe": pa.bool_(),
        "image_url": TEXT, "image_vector": pa.list_(pa.float32()),
    }),
    "users": pa.schema({
        "user_id": TEXT, "signup_at": TIMESTAMP, "age": pa.int32(), "gender": TEXT, "country": TEXT,
        "language": TEXT, "tier": TEXT,
    }),
}  # fmt: skip

REQUIRED: dict[str, tuple[str, ...]] = {
    "events": ("user_id", "item_id", "event_type", "timestamp"),
    "impressions": ("request_id", "user_id", "item_id", "position", "timestamp"),
    "items": ("item_id", "category", "created_at"),
    "users": ("user_id",),
}

EVENT_TYPES = served.EVENT_TYPES


def table(schema: pa.Schema, columns: Mapping[str, Any], rows: int) -> pa.Table:
    """A table of this schema from Arrow, numpy or plain columns; one that is not given is null in every row."""
    arrays = [_array(columns[f.name], f.type) if f.name in columns else pa.nulls(rows, f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(column: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if isinstance(column, pa.Array | pa.ChunkedArray):
        return column.cast(kind)
    if isinstance(column, np.ndarray) and column.dtype.kind == "M":
        return pa.array(column).cast(kind)
    return pa.array(column, kind)


def largest_timestamp(tables: Mapping[str, pa.Table]) -> datetime:
    """ "Now" by the latest moment in events and impressions. Raises DataError when there is none."""
    moments = [pc.max(tables[name]["timestamp"]).as_py() for name in ("events", "impressions") if name in tables]
    known = [moment for moment in moments if moment is not None]
    if not known:
        raise DataError("events: column timestamp: no value in any row, so there is no moment to call now")
    return now_of(max(known).astimezone(UTC))


def write_raw(
    folder: Path,
    source: Source,
    tables: Mapping[str, pa.Table],
    extra: Callable[[Path], None] | None = None,
    merge: Callable[[Path, Source], Source] | None = None,
) -> dict[str, int]:
    """Write all four tables and the declaration in one step; returns rows by table.

    A source without impressions gets an empty table of them. `extra` may write more files next to the tables, `merge`
    add rows to them and say what the source is then.
    """
    complete = {name: tables.get(name, schema.empty_table()) for name, schema in SCHEMAS.items()}
    rows = {name: content.num_rows for name, content in complete.items()}
    with publish(folder) as partial:
        for name, content in complete.items():
            (partial / name).mkdir()
            pq.write_table(content, partial / name / "part-0.parquet")
        source = source.at(source.as_of or largest_timestamp(tables))
        write_source(partial, source if merge is None else merge(partial, source), rows)
        if extra is not None:
            extra(partial)
    return rows
