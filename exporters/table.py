"""The item table of a generation: features, rule columns, regions and ids, row for row with the index.

Feast's offline read is the one source of features; the catalogue table adds what the rules need. The files are
described where they are read, `catalogue.py` and `records.py` of `deploy/triton/backends/faiss`.
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.errors import ExportError
from exporters.manifest import POPULAR, TABLE, IndexFacts
from exporters.records import STORED_RULES, RecordWriter, RowFile, item_blocks, read_ids
from feature_repo.schema import SCHEMA, country_code
from feature_repo.vectors import Floats, Ints, item_key
from model_repository.traffic import PopularItem

DISPLAY = ("title", "category", "brand", "price", "image_url")
LONGEST_ID = 256
FINGERPRINT = "fingerprint"
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

    @property
    def keys(self) -> Ints:
        """The items' identities in tensors [n]."""
        return np.fromiter(map(item_key, self.ids), np.int64, len(self.ids))


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


class TableWriter:
    """Writes a table of `items` rows chunk by chunk beside its index: ids of at most `id_bytes`, rows that are
    restricted to some of `regions` (country names)."""

    def __init__(self, folder: Path, items: int, id_bytes: int, regions: Iterable[str]) -> None:
        self._folder, self._items, self._id_bytes = folder, items, id_bytes
        self._bits = region_bits(regions)
        self._words = max(self._bits.values(), default=0) // 64 + 1
        self._files = {
            "keys": RowFile(folder / "keys.npy", np.dtype(np.int64), (items,)),
            "rules": RowFile(folder / "rules.npy", np.dtype(np.float32), (items, len(STORED_RULES))),
            "regions": RowFile(folder / "regions.npy", np.dtype(np.uint64), (items, self._words)),
        }
        self._records = RecordWriter(folder, items, id_bytes)
        self._popular: tuple[PopularItem, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files, whatever they hold."""
        for file in (*self._files.values(), self._records.file):
            file.close()

    def add(self, table: ItemTable) -> None:
        """The next rows."""
        keys = table.keys
        self._files["keys"].add(keys)
        self._files["rules"].add(table.rules)
        self._files["regions"].add(_region_masks(table, self._bits, self._words))
        self._records.add(keys, _id_bytes(table.ids, self._id_bytes), table.rules, table.features)
        self._popular = most_popular((*self._popular, *popular_items(table)))

    def finish(self, index: IndexFacts, tower_digest: str, fingerprint: str) -> Ints:
        """Describe what was written; returns the keys [items]. Raises ExportError when two items share one.

        `fingerprint` is that of the catalogue, by which the next generation knows whether anything changed.
        """
        self.close()
        for file in (*self._files.values(), self._records.file):
            file.require_all()
        keys: Ints = np.load(self._folder / "keys.npy")
        refuse_clashes(keys, self._folder)
        facts = {
            "items": self._items,
            "dimension": index.dimension,
            "nprobe": index.nprobe,
            "ef_search": index.ef_search,
            "id_bytes": self._id_bytes,
            "feature_columns": item_blocks(),
            "rule_columns": STORED_RULES,
            "regions": self._bits,
            "tower_digest": tower_digest,
            "schema_hash": SCHEMA.hash,
            FINGERPRINT: fingerprint,
        }
        (self._folder / TABLE).write_text(json.dumps(facts, indent=2, sort_keys=True))
        popular = [item.model_dump(mode="json") for item in self._popular]
        (self._folder / POPULAR).write_text(json.dumps(popular))
        return keys


def refuse_clashes(keys: Ints, folder: Path) -> None:
    """Raise ExportError, with their ids, when two rows have the same key."""
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(np.diff(keys[order]) == 0)
    if len(same):
        clash = read_ids(folder, order[same[0] : same[0] + 2])
        raise ExportError(f"items {clash} have the same 64-bit key; rename one of them")


def region_bits(regions: Iterable[str]) -> dict[int, int]:
    """{country code: bit} of every country a restriction names; bit 0 stands for all others."""
    named = sorted({country_code(country) for country in regions} - {0})
    return {code: bit for bit, code in enumerate(named, start=1)}


def sellable_everywhere(table: ItemTable) -> npt.NDArray[np.bool_]:
    """Rows in stock, safe and without a restriction [n]: what a request without a country may be answered with."""
    unrestricted = np.fromiter((named is None for named in table.regions), bool, len(table))
    return np.asarray(_sellable(table) & unrestricted, np.bool_)


def popular_items(table: ItemTable, limit: int = 500) -> tuple[PopularItem, ...]:
    """Sellable items by events in 30 days, then by id: the last rung of the ladder."""
    column = {name: i for i, name in enumerate(STORED_RULES)}
    events = table.features[:, SCHEMA.offset("item_events_30d")]
    rows = np.flatnonzero(_sellable(table))
    least = -np.partition(-events[rows], limit - 1)[limit - 1] if len(rows) > limit else -np.inf
    order = sorted((int(row) for row in rows if events[row] >= least), key=lambda i: (-events[i], table.ids[i]))
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
        for i in order[:limit]
    )


def most_popular(items: Iterable[PopularItem], limit: int = 500) -> tuple[PopularItem, ...]:
    """The best of several chunks' popular items."""
    return tuple(sorted(items, key=lambda item: (-item.score, item.item_id))[:limit])


def encoded(ids: Sequence[str]) -> list[bytes]:
    """The ids as UTF-8. Raises ExportError for one that cannot be stored in a fixed width."""
    raw = [item.encode() for item in ids]
    if any(len(e) > LONGEST_ID or b"\0" in e for e in raw):
        worst = max(ids, key=lambda i: (b"\0" in i.encode(), len(i.encode())))
        raise ExportError(f"item ids hold a NUL or are longer than {LONGEST_ID} bytes, worst: {worst[:40]!r}…")
    return raw


def _sellable(table: ItemTable) -> npt.NDArray[np.bool_]:
    sold: npt.NDArray[np.bool_]
    sold = (table.rules[:, STORED_RULES.index("in_stock")] > 0) & (table.rules[:, STORED_RULES.index("is_safe")] > 0)
    return sold


def _flag(column: "pd.Series[bool]") -> npt.NDArray[np.bool_]:
    """A yes/no column; a source that does not say means yes."""
    return np.array([True if pd.isna(value) else bool(value) for value in column])


def _regions(value: object) -> tuple[str, ...] | None:
    if value is None or not isinstance(value, (list, tuple, np.ndarray)) or len(value) == 0:
        return None
    return tuple(str(country) for country in value)


def _display(row: Mapping[Hashable, object]) -> dict[str, object]:
    return {str(k): v for k, v in row.items() if not (v is None or (isinstance(v, float) and np.isnan(v)))}


def _id_bytes(ids: Sequence[str], width: int) -> npt.NDArray[np.uint8]:
    padded = b"".join(raw.ljust(width, b"\0") for raw in encoded(ids))
    return np.frombuffer(padded, np.uint8).reshape(len(ids), width)


def _region_masks(table: ItemTable, bits: Mapping[int, int], words: int) -> npt.NDArray[np.uint64]:
    masks = np.full((len(table), words), np.iinfo(np.uint64).max, np.uint64)
    for row, regions in enumerate(table.regions):
        if regions is not None:
            masks[row] = 0
            for bit in {bits[code] for code in map(country_code, regions) if code}:
                masks[row, bit // 64] |= np.uint64(1) << np.uint64(bit % 64)
    return masks
