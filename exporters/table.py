"""The item table of a generation: features, rule columns, regions and ids, row for row with the index.

Feast's offline read is the one source of features; the catalogue table adds what the rules need. The files are
described where they are read, `deploy/triton/backends/faiss/catalogue.py`.
"""

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.blocks import write_features
from exporters.errors import ExportError
from exporters.manifest import IndexFacts
from feature_repo.schema import SCHEMA, country_code
from feature_repo.vectors import Floats, item_key
from model_repository.contract import RULE_COLUMNS
from model_repository.traffic import PopularItem

STORED_RULES = RULE_COLUMNS[:-1]  # `in_region` is the request's, not the item's
DISPLAY = ("title", "category", "brand", "price", "image_url")
LONGEST_ID = 256
POPULAR = "popular.json"
UNDATED_DAYS = 36_500.0  # an item without a date is not fresh


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemTable:
    """n items: ids, features [n, ITEM_WIDTH], rules [n, STORED_RULES], regions (None: everywhere), display columns."""

    ids: list[str]
    features: Floats
    rules: Floats
    regions: list[tuple[str, ...] | None]
    display: list[dict[str, object]]

    def __len__(self) -> int:
        return len(self.ids)


def item_table(ids: list[str], features: Floats, items: pd.DataFrame, as_of: pd.Timestamp) -> ItemTable:
    """Join Feast's rows with the validated catalogue `items`. Raises ExportError for an id one of them lacks."""
    missing = sorted(set(ids) - set(items["item_id"]))
    if missing:
        raise ExportError(f"{len(missing)} items are in Feast, not in the catalogue, first {missing[0]!r}")
    catalogue = items.set_index("item_id").reindex(ids)
    categories = pd.factorize(catalogue["category"])[0] + 1  # 0: no category
    age = (as_of - pd.to_datetime(catalogue["created_at"], utc=True)).dt.total_seconds() / 86400
    columns = {
        "price": catalogue["price"].astype(float).fillna(0.0),
        "category": categories,
        "age_days": age.clip(lower=0).fillna(UNDATED_DAYS),
        "in_stock": _flag(catalogue["in_stock"]),
        "is_safe": _flag(catalogue["is_safe"]),
    }
    return ItemTable(
        ids=ids,
        features=features,
        rules=np.stack([np.asarray(columns[name], np.float32) for name in STORED_RULES], axis=1),
        regions=[_regions(value) for value in catalogue["regions"]],
        display=[_display(row) for row in catalogue[[c for c in DISPLAY if c in catalogue]].to_dict("records")],
    )


def write_table(folder: Path, table: ItemTable, index: IndexFacts, tower_digest: str) -> None:
    """Write the table's files beside the index."""
    bits = region_bits(table)
    blocks = write_features(folder, table.features)
    np.save(folder / "keys.npy", item_keys(table.ids))
    np.save(folder / "ids.npy", _id_bytes(table.ids))
    np.save(folder / "rules.npy", table.rules)
    np.save(folder / "regions.npy", _region_masks(table, bits))
    facts = {
        "items": len(table),
        "dimension": index.dimension,
        "nprobe": index.nprobe,
        "ef_search": index.ef_search,
        "feature_columns": blocks,
        "rule_columns": STORED_RULES,
        "regions": bits,
        "tower_digest": tower_digest,
        "schema_hash": SCHEMA.hash,
    }
    (folder / "table.json").write_text(json.dumps(facts, indent=2, sort_keys=True))
    popular = [item.model_dump(mode="json") for item in popular_items(table)]
    (folder / POPULAR).write_text(json.dumps(popular))


def item_keys(ids: list[str]) -> npt.NDArray[np.int64]:
    """The 64-bit keys of the ids. Raises ExportError when two ids share one."""
    keys = np.array([item_key(i) for i in ids], np.int64)
    unique, counts = np.unique(keys, return_counts=True)
    if len(unique) < len(keys):
        clash = [ids[i] for i in np.flatnonzero(keys == unique[counts > 1][0])]
        raise ExportError(f"items {clash} have the same 64-bit key; rename one of them")
    return keys


def region_bits(table: ItemTable) -> dict[int, int]:
    """{country code: bit} of every country a restriction names; bit 0 stands for all others."""
    named = sorted({country_code(c) for regions in table.regions if regions is not None for c in regions} - {0})
    return {code: bit for bit, code in enumerate(named, start=1)}


def popular_items(table: ItemTable, limit: int = 500) -> tuple[PopularItem, ...]:
    """Sellable items by events in 30 days, then by id: the last rung of the ladder."""
    column = {name: i for i, name in enumerate(STORED_RULES)}
    events = table.features[:, SCHEMA.offset("item_events_30d")]
    sellable = (table.rules[:, column["in_stock"]] > 0) & (table.rules[:, column["is_safe"]] > 0)
    order = [int(i) for i in np.lexsort((np.array(table.ids), -events)) if sellable[i]][:limit]
    return tuple(
        PopularItem(
            item_id=table.ids[i],
            price=float(table.rules[i, column["price"]]),
            category=int(table.rules[i, column["category"]]),
            age_days=float(table.rules[i, column["age_days"]]),
            score=float(events[i]),
            regions=table.regions[i],
            metadata=table.display[i],
        )
        for i in order
    )


def _flag(column: "pd.Series[bool]") -> npt.NDArray[np.bool_]:
    """A yes/no column; a source that does not say means yes."""
    return np.array([True if pd.isna(value) else bool(value) for value in column])


def _regions(value: object) -> tuple[str, ...] | None:
    if value is None or not isinstance(value, (list, tuple, np.ndarray)) or len(value) == 0:
        return None
    return tuple(str(country) for country in value)


def _display(row: Mapping[Hashable, object]) -> dict[str, object]:
    return {str(k): v for k, v in row.items() if not (v is None or (isinstance(v, float) and np.isnan(v)))}


def _id_bytes(ids: list[str]) -> npt.NDArray[np.uint8]:
    encoded = [item.encode() for item in ids]
    width = max(map(len, encoded))
    if width > LONGEST_ID or any(b"\0" in e for e in encoded):
        worst = max(ids, key=lambda i: len(i.encode()))
        raise ExportError(f"item ids hold a NUL or are longer than {LONGEST_ID} bytes, longest: {worst[:40]!r}…")
    return np.frombuffer(b"".join(e.ljust(width, b"\0") for e in encoded), np.uint8).reshape(len(ids), width)


def _region_masks(table: ItemTable, bits: dict[int, int]) -> npt.NDArray[np.uint64]:
    words = max(bits.values(), default=0) // 64 + 1
    masks = np.zeros((len(table), words), np.uint64)
    for row, regions in enumerate(table.regions):
        if regions is None:
            masks[row] = np.iinfo(np.uint64).max
            continue
        for bit in {bits[code] for code in map(country_code, regions) if code}:
            masks[row, bit // 64] |= np.uint64(1) << np.uint64(bit % 64)
    return masks
