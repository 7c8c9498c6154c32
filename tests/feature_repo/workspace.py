"""A workspace with random snapshots, histories and contents, as the pipeline would have written them."""

from datetime import UTC, datetime, timedelta

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from deploy.settings import Settings
from feature_repo.schema import SCHEMA, Feature
from feature_repo.vectors import Floats, history_entry, item_key, rows_to_array

AS_OF = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = [AS_OF - timedelta(days=2), AS_OF - timedelta(days=1), AS_OF]
USERS = [f"u{n}" for n in range(7)]
ITEMS = ["i3", "i1", "i2"]
MOMENT = pa.timestamp("us", tz="UTC")
TEXTS = ("item_id", "title", "category", "brand", "image_url")
LISTS = pa.list_(pa.float32())


def write_features(settings: Settings) -> None:
    """Snapshots of three days, contents, the clean items table and splits.json."""
    rng = np.random.default_rng(3)
    write_snapshots(settings, "user", USERS, rng)
    write_snapshots(settings, "item", ITEMS, rng)
    contents = [{"item_id": i, "event_timestamp": datetime(1970, 1, 1, tzinfo=UTC)} | _random(_content(), rng)
                for i in ITEMS]  # fmt: skip
    _write(settings, "item_content", contents, pa.schema(
        [("item_id", pa.string()), ("event_timestamp", MOMENT), *((f.name, LISTS) for f in _content())]
    ))  # fmt: skip
    (settings.features / "splits.json").write_bytes(orjson.dumps({"as_of": AS_OF, "schema": SCHEMA.hash}))
    (settings.tables / "items").mkdir(parents=True)
    items = [{"item_id": i, "title": f"Title {i}", "category": None, "price": 2.5, "tags": ["a"]} for i in ITEMS]
    columns = [(name, pa.string()) for name in TEXTS] + [("price", pa.float64()), ("tags", pa.list_(pa.string()))]
    pq.write_table(pa.Table.from_pylist(items, pa.schema(columns)), settings.tables / "items" / "part-0.parquet")


def write_snapshots(settings: Settings, group: str, ids: list[str], rng: np.random.Generator) -> None:
    """Random snapshots of one group at `DAYS`, the users' with a history that grows."""
    features = SCHEMA.group("user" if group == "user" else "item")
    rows = [
        {f"{group}_id": i, "event_timestamp": day, "created_timestamp": day, **_random(features, rng)}
        | ({"user_history": _history(n)} if group == "user" else {})
        for n, day in enumerate(DAYS)
        for i in ids
    ]
    kinds = [(f.name, LISTS if f.width > 1 else pa.float32()) for f in features]
    history = [("user_history", pa.list_(pa.int64()))] if group == "user" else []
    moments = [("event_timestamp", MOMENT), ("created_timestamp", MOMENT)]
    _write(settings, f"{group}_snapshots", rows, pa.schema([(f"{group}_id", pa.string()), *moments, *kinds, *history]))


def final_rows(settings: Settings, group: str) -> dict[str, Floats]:
    """The final snapshots as arrays, by id."""
    rows = pq.read_table(settings.features / f"{group}_snapshots").to_pylist()
    name = "user" if group == "user" else "item"
    return {
        row[f"{group}_id"]: rows_to_array(name, [row])[0]  # type: ignore[arg-type]
        for row in rows
        if row["event_timestamp"] == AS_OF
    }


def _content() -> tuple[Feature, ...]:
    return SCHEMA.group("content")


def _history(entries: int) -> list[int]:
    return [history_entry(item_key(f"i{n}"), 1 + n % 3) for n in range(entries)]


def _random(features: tuple[Feature, ...], rng: np.random.Generator) -> dict[str, object]:
    def value(width: int) -> object:
        return rng.normal(size=width).astype(np.float32).tolist() if width > 1 else float(rng.gamma(1.0, 20.0))

    return {feature.name: value(feature.width) for feature in features}


def _write(settings: Settings, name: str, rows: list[dict[str, object]], schema: pa.Schema) -> None:
    (settings.features / name).mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), settings.features / name / "part-0.parquet")
