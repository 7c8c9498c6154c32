"""What receipts before a day say of pairs (customer, item): own purchases, popularity, what goes along, price.

A customer's day is a basket. `Shelf` is built from the receipts before its day and knows nothing else.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from feature_repo.vectors import Floats, Ints

WINDOWS = (7, 14, 30, 60)
MONTH = 30
TOP, ALONG = 50, 50  # candidates by popularity, and by what goes along with a customer's items
TOGETHER = 2  # customers that two items have in common, at least
CHUNK = 1000
Columns = dict[str, npt.NDArray[Any]]
OWN = ("times", "pieces", "own_idle", "own_since", "own_interval", "own_share")
FEATURES = (
    *OWN, *(f"users_{days}d" for days in WINDOWS), "users", "item_repeats", "item_age", "price", "price_ratio",
    "group_times", "group_share", "group_users", "along", "customer_baskets", "customer_items", "customer_idle",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Receipts:
    """Lines: customer, item, day, pieces and price of one; `group` [items] is the subclass of every item."""

    customer: Ints
    item: Ints
    day: Ints
    pieces: Floats
    price: Floats
    group: Ints
    customers: int

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.group)

    def between(self, start: int, end: int) -> "Receipts":
        """Lines of days start…end − 1."""
        rows = np.flatnonzero((self.day >= start) & (self.day < end))
        columns = {name: getattr(self, name)[rows] for name in ("customer", "item", "day", "pieces", "price")}
        return Receipts(**columns, group=self.group, customers=self.customers)


class Shelf:
    """Everything that the receipts before a day say."""

    def __init__(self, receipts: Receipts, day: int) -> None:
        self.past, self.day = receipts.between(-1, day), day
        self.own = _own(self.past)
        keys = self.own.index.to_numpy()
        self._customer, self._item = keys // receipts.items, keys % receipts.items

    @cached_property
    def had(self) -> sp.csr_matrix:
        """Who had what: [customers, items]."""
        ones = np.ones(len(self._item), np.float32)
        return sp.csr_matrix((ones, (self._customer, self._item)), shape=(self.past.customers, self.past.items))

    def users(self, days: int | None = None) -> Floats:
        """Customers of each item in the last days, or ever."""
        lines = self.past if days is None else self.past.between(self.day - days, self.day)
        pairs = np.unique(lines.customer * lines.items + lines.item)
        return np.bincount(pairs % lines.items, minlength=lines.items).astype(np.float32)

    @cached_property
    def similar(self) -> sp.csr_matrix:
        """Cosine of items over customers: [items, items]."""
        together = (self.had.T @ self.had).tocoo()
        kept = (together.row != together.col) & (together.data >= TOGETHER)
        row, column, value = together.row[kept], together.col[kept], together.data[kept]
        norm = np.sqrt(self.users()[row] * self.users()[column])
        return sp.csr_matrix((value / norm, (row, column)), shape=together.shape, dtype=np.float32)

    def along(self, customers: Ints) -> sp.csr_matrix:
        """Item-kNN's scores: [customers, items]."""
        return (self.had[customers] @ self.similar).tocsr()

    def candidates(self, customers: Ints) -> tuple[Ints, Ints]:
        """Pairs: rows of `customers`, and the items that each had, that are popular, that go along with what he had."""
        orders = [np.argsort(-self.users(days), kind="stable")[:TOP] for days in (None, MONTH)]
        popular = np.unique(np.concatenate(orders))
        rows = np.arange(len(customers))
        had = self.had[customers].tocoo()
        parts = [rows.repeat(len(popular)) * self.past.items + np.tile(popular, len(rows)),
                 had.row.astype(np.int64) * self.past.items + had.col]  # fmt: skip
        for start in range(0, len(rows), CHUNK):
            part = customers[start : start + CHUNK]
            scores = self.along(part)
            row, item = _largest((scores - scores.multiply(self.had[part])).tocsr(), ALONG)
            parts.append((row + start) * self.past.items + item)
        keys = np.unique(np.concatenate(parts))
        return keys // self.past.items, keys % self.past.items

    def features(self, customers: Ints, rows: Ints, items: Ints) -> Floats:
        """[pairs, FEATURES] of candidates of customers."""
        customer = customers[rows]
        found: Columns = self._of_pairs(customer, items) | self._of_items(items) | self._of_customers(customer)
        found |= self._of_groups(customer, items)
        price, usual = found["price"], found.pop("customer_price")
        found |= {"price_ratio": price / np.maximum(usual, 1e-9), "along": self._along(customers, rows, items)}
        found["own_share"] = found["times"] / np.maximum(found["customer_baskets"], 1)
        return np.stack([np.asarray(found[name], np.float32) for name in FEATURES], axis=1)

    def _of_pairs(self, customer: Ints, items: Ints) -> Columns:
        own = self.own.reindex(customer * self.past.items + items)
        span = (own["last"] - own["first"]).to_numpy()
        times = own["times"].to_numpy()
        idle = self.day - own["last"].to_numpy()
        interval = np.where(times > 1, span / np.maximum(times - 1, 1), np.nan)
        return {
            "times": np.nan_to_num(times), "pieces": own["pieces"].to_numpy(), "own_idle": idle,
            "own_since": _known(self.day - own["first"].to_numpy()), "own_interval": idle / interval,
        }  # fmt: skip

    def _of_items(self, items: Ints) -> Columns:
        line = pd.DataFrame({"item": self.past.item, "price": self.past.price, "day": self.past.day})
        count = self.users()
        again = np.bincount(self._item[self.own["times"].to_numpy() > 1], minlength=self.past.items)
        known = line.groupby("item").agg(price=("price", "median"), day=("day", "min")).reindex(items)
        return {
            **{f"users_{days}d": _relative(self.users(days))[items] for days in WINDOWS},
            "users": _relative(count)[items],
            "item_repeats": (again / (count + 10))[items],
            "item_age": _known(self.day - known["day"].to_numpy()),
            "price": known["price"].to_numpy(),
        }

    def _of_customers(self, customer: Ints) -> Columns:
        lines = pd.DataFrame({"c": self.past.customer, "day": self.past.day, "price": self.past.price})
        found = lines.groupby("c").agg(baskets=("day", "nunique"), last=("day", "max"), price=("price", "median"))
        found = found.reindex(customer)
        return {
            "customer_baskets": found["baskets"].to_numpy(),
            "customer_items": np.asarray(self.had.sum(1)).ravel()[customer],
            "customer_idle": self.day - found["last"].to_numpy(),
            "customer_price": found["price"].to_numpy(),
        }

    def _of_groups(self, customer: Ints, items: Ints) -> Columns:
        group, width = self.past.group, int(self.past.group.max(initial=0)) + 1
        lines = self.past.customer * width + group[self.past.item]
        table = pd.Series(1.0, index=lines).groupby(level=0).sum()
        bought = table.reindex(customer * width + group[items]).fillna(0.0).to_numpy()
        total = np.bincount(self.past.customer, minlength=self.past.customers)[customer]
        popular = np.bincount(group, self.users(), minlength=width)
        share = bought / np.maximum(total, 1)
        return {"group_times": bought, "group_share": share, "group_users": _relative(popular)[group[items]]}

    def _along(self, customers: Ints, rows: Ints, items: Ints) -> Floats:
        result = np.empty(len(rows), np.float32)
        for start in range(0, len(customers), CHUNK):
            part = slice(*np.searchsorted(rows, [start, start + CHUNK]))
            scores = self.along(customers[start : start + CHUNK])
            result[part] = np.asarray(scores[rows[part] - start, items[part]]).ravel()
        return result


def _own(past: Receipts) -> pd.DataFrame:
    """By customer · items + item: lines, pieces, first and last day."""
    lines = pd.DataFrame({"key": past.customer * past.items + past.item, "day": past.day, "pieces": past.pieces})
    return lines.groupby("key").agg(
        times=("day", "count"), pieces=("pieces", "sum"), first=("day", "min"), last=("day", "max")
    )


def _relative(counts: npt.NDArray[Any]) -> Floats:
    """Beside the most popular: months of data are more or fewer, shares stay comparable."""
    return np.asarray(counts / max(float(counts.max(initial=0)), 1.0), np.float32)


def _known(days: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """At most a month: nobody knows how much older than the first receipt something is."""
    return np.asarray(np.minimum(days, MONTH))


def _largest(scores: sp.csr_matrix, k: int) -> tuple[Ints, Ints]:
    """Row and column of the k largest of every row, equal ones by column."""
    rows = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    order = np.lexsort((scores.indices, -scores.data, rows))
    place = np.arange(scores.nnz) - np.repeat(scores.indptr[:-1], np.diff(scores.indptr))
    kept = order[place < k]
    return rows[kept].astype(np.int64), scores.indices[kept].astype(np.int64)
