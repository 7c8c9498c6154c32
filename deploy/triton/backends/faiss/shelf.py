"""What of a generation may be shown where: its rule columns and regions, with the overlay written on top of them.

`rules.npy` and `regions.npy` are mapped copy-on-write, so the overlay is written in place: what reads them is none the
slower, and only pages with overlaid rows take memory. A second, read-only mapping says what a row was before.

One thread searches, another one writes. A search reads single bytes of a bitmap and single elements of the tables,
which are replaced whole, so it sees each row as it was or as it is. The lock is between building a region's bitmap and
writing, where a row could be missed.
"""

import threading
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from overlay import IN_STOCK, IS_SAFE, PRICE, REGIONS, Read
from pace import breathe

Arrays = dict[str, np.ndarray]
PART = 250  # rows written between two pauses
EVERYWHERE = np.iinfo(np.uint64).max
SAID = {IN_STOCK: 1, IS_SAFE: 2, PRICE: 4, REGIONS: 8}  # what the overlay says of a row, as bits


class Region:
    """The rows a region may be shown: how many, and the bits that FAISS looks at while it scans."""

    def __init__(self, allowed: np.ndarray) -> None:
        self.total = int(allowed.sum())
        self._bits = np.packbits(allowed, bitorder="little")
        self.selector = faiss.IDSelectorBitmap(self._bits)  # looks at the array itself

    def set(self, rows: np.ndarray, allowed: np.ndarray) -> None:
        """Allow or forbid rows [n], each named once."""
        byte, bit = rows >> 3, np.left_shift(1, rows & 7).astype(np.uint8)
        before = (self._bits[byte] & bit) != 0
        np.bitwise_or.at(self._bits, byte[allowed], bit[allowed])
        np.bitwise_and.at(self._bits, byte[~allowed], ~bit[~allowed])
        self.total += int(allowed.sum()) - int(before.sum())


class Shelf:
    """Rules [n, columns] and regions [n, words] as they are now; `take` is what the overlay's follower calls.

    `table` is what the generation itself says; `overlaid` counts the rows that the overlay says anything of.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], table: Arrays) -> None:
        self.rules, self.regions = (np.load(folder / f"{name}.npy", mmap_mode="c") for name in ("rules", "regions"))
        self._base, self._keys = table, table["keys"]
        self._column = {name: i for i, name in enumerate(facts["rule_columns"])}
        self._bit = {int(code): int(bit) for code, bit in facts["regions"].items()}
        self._sellable = self._may_be_sold(slice(None))
        self._region: dict[int, Region] = {}
        self._said = np.zeros(len(self._keys), np.uint8)
        self._lock = threading.Lock()
        self.overlaid = 0

    def bit(self, country: int) -> int:
        """The region of a country code; 0 stands for every country that no item names."""
        return self._bit.get(country, 0)

    def region(self, bit: int) -> Region:
        """The rows that a region may be shown."""
        if bit not in self._region:
            with self._lock:
                self._region[bit] = Region(self.allowed(slice(None), bit))
        return self._region[bit]

    def allowed(self, rows: np.ndarray | slice, bit: int) -> np.ndarray:
        """Whether the region may be shown each of the rows."""
        word = self.regions[rows, bit // 64]
        allowed: np.ndarray = self._sellable[rows] & ((word >> np.uint64(bit % 64)) & np.uint64(1)).astype(bool)
        return allowed

    def prepare(self) -> None:
        """Sort the keys while there is time, so that the first change need not: half a second for ten million."""
        _ = self._order

    def take(self, read: Read) -> None:
        """Write what was read of the overlay. Pauses where the thread wants to.

        All columns first, then the bitmaps, so that no row is let through half changed.
        """
        touched = [np.empty(0, np.int64)]
        for name in SAID:
            if read.complete:
                touched.extend(self._take_back(name, read.changes[name]))
            touched.extend(self._write(name, part) for part in _parts(read.changes[name]))
        rows = np.unique(np.concatenate(touched))
        for first in range(0, len(rows), PART):
            self._let_through(rows[first : first + PART])
            breathe()

    def _take_back(self, name: str, said: Mapping[int, object]) -> Iterator[np.ndarray]:
        """Undo whatever else was said before."""
        rows = np.flatnonzero(self._said & SAID[name])
        still = np.isin(self._keys[rows], np.fromiter(said, np.int64, len(said)))
        before = dict.fromkeys(self._keys[rows[~still]].tolist())
        return (self._write(name, part) for part in _parts(before))

    def _write(self, name: str, said: Mapping[int, Any]) -> np.ndarray:
        """Write one attribute of some items; returns their rows. Items of other generations are passed over."""
        places, rows = self._find(np.fromiter(said, np.int64, len(said)))
        values = list(said.values())
        values = [values[place] for place in places.tolist()]
        silent = np.array([value is None for value in values], bool)
        with self._lock:
            if name == REGIONS:
                self.regions[rows] = self._masks(rows, values)
            else:
                column, told = self._column[name], np.array([value or 0.0 for value in values], np.float32)
                self.rules[rows, column] = np.where(silent, self._base["rules"][rows, column], told)
            before = np.count_nonzero(self._said[rows])
            self._said[rows[silent]] &= np.uint8(~SAID[name] & 0xFF)
            self._said[rows[~silent]] |= np.uint8(SAID[name])
            self.overlaid += int(np.count_nonzero(self._said[rows])) - int(before)
        breathe()
        return rows

    def _let_through(self, rows: np.ndarray) -> None:
        with self._lock:
            self._sellable[rows] = self._may_be_sold(rows)
            for bit, region in self._region.items():
                region.set(rows, self.allowed(rows, bit))

    def _may_be_sold(self, rows: np.ndarray | slice) -> np.ndarray:
        in_stock, is_safe = (self.rules[rows, self._column[name]] > 0 for name in (IN_STOCK, IS_SAFE))
        sold: np.ndarray = in_stock & is_safe
        return sold

    def _masks(self, rows: np.ndarray, values: list[frozenset[int] | None]) -> np.ndarray:
        """Region masks of rows; of what nothing is said any more they are the generation's."""
        masks: np.ndarray = self._base["regions"][rows].copy()
        for mask, codes in zip(masks, values, strict=True):
            if codes is not None:
                mask[:] = 0 if codes else EVERYWHERE
                for bit in filter(None, map(self._named_bit, codes)):
                    mask[bit // 64] |= np.uint64(1) << np.uint64(bit % 64)
        return masks

    def _named_bit(self, country: int) -> int | None:
        """The country's region; None where there is room for no more, and such an item is not shown there.

        A bit that no country has is set in just the rows without a restriction, as region 0 is: it is free to take.
        """
        if country not in self._bit:
            free = max(self._bit.values(), default=0) + 1
            if free >= 64 * self.regions.shape[1]:
                return None
            self._bit[country] = free
        return self._bit[country]

    def _find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the keys this generation has, and their rows."""
        if not len(self._keys):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        places = np.searchsorted(self._keys, keys, sorter=self._order)
        rows = self._order[np.minimum(places, len(self._keys) - 1)]
        known = np.flatnonzero(self._keys[rows] == keys)
        return known, rows[known]

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self._keys)


def _parts(values: Mapping[int, Any]) -> Iterator[dict[int, Any]]:
    items = iter(values.items())
    while part := dict(islice(items, PART)):
        yield part
