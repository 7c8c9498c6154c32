"""Ta-Feng, what a customer of a supermarket buys in February 2001 by the receipts before.

4,000 of the customers who bought before and in February, drawn by a fixed seed; recall and NDCG are at ten, means over
customers, NDCG's ideal is over the best ten. Beside everything that is bought, what is new to the customer is judged
alone. Learning: December's purchases and January's, each by the receipts before that month; two months, as one may be
unlike the others. Validation: January's of other customers, by a ranker that learnt December's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from feature_repo.vectors import Floats, Ints
from training.adapters.read import read_parquet, require, select
from training.benchmark.protocol import Answer, Figures, Given, Judge, Model, Objective, Parameters, Protocol
from training.benchmark.trees.baskets import FEATURES, MONTH, Receipts, Shelf
from training.benchmark.trees.boost import DEFAULTS, SPACE, Rows, fit
from training.errors import DataError

COLUMNS = ("TRANSACTION_DT", "CUSTOMER_ID", "PRODUCT_ID", "PRODUCT_SUBCLASS", "AMOUNT", "SALES_PRICE")
START = pd.Timestamp("2000-11-01")
DECEMBER, JANUARY, FEBRUARY, MARCH = (
    (pd.Timestamp(month) - START).days for month in ("2000-12-01", "2001-01-01", "2001-02-01", "2001-03-01")
)
ASKED, K = 4000, 10
METRIC = f"ndcg@{K}"


@dataclass(frozen=True, kw_only=True)
class Month:
    """Customers to rank for at a day, and, where a model may know, what they bought by row: customer · items + item."""

    day: int
    customers: Ints
    bought: Ints | None = None


@dataclass(frozen=True, kw_only=True)
class Supermarket:
    """Receipts before February, and months: two to learn from, one to tune on, one to answer."""

    receipts: Receipts
    before: Month
    fit: Month
    validation: Month
    asked: Month


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Pairs: row of the month's customers, item, features."""

    row: Ints
    item: Ints
    matrix: Floats

    def column(self, name: str) -> Floats:
        """A feature of all pairs."""
        return self.matrix[:, FEATURES.index(name)]


def load(folder: Path) -> tuple[Supermarket, Judge]:
    """The problem, and the judge with what was bought in February. Raises DataError."""
    return problem(_receipts(require(folder, "ta_feng.parquet")))


def problem(receipts: Receipts) -> tuple[Supermarket, Judge]:
    """The problem of receipts, days counted from 1 November 2000, and its judge."""
    draw = np.random.RandomState(0)  # the draw of the reference
    asked = draw.permutation(_returning(receipts, FEBRUARY, MARCH))[:ASKED]
    past = receipts.between(0, FEBRUARY)
    january = draw.permutation(_returning(past, JANUARY, FEBRUARY))
    december = draw.permutation(_returning(past, DECEMBER, JANUARY))[:ASKED]
    half = min(ASKED, len(january) // 2)
    bought, had = _bought(receipts, asked, FEBRUARY, MARCH), _bought(receipts, asked, 0, FEBRUARY)
    return Supermarket(
        receipts=past,
        before=Month(day=DECEMBER, customers=december, bought=_bought(past, december, DECEMBER, JANUARY)),
        fit=Month(day=JANUARY, customers=january[:half], bought=_bought(past, january[:half], JANUARY, FEBRUARY)),
        validation=Month(day=JANUARY, customers=january[half : 2 * half],
                         bought=_bought(past, january[half : 2 * half], JANUARY, FEBRUARY)),
        asked=Month(day=FEBRUARY, customers=asked),
    ), BasketJudge(bought, had, receipts.items)  # fmt: skip


def _receipts(path: Path) -> Receipts:
    lines = select(path, read_parquet(path), COLUMNS).to_pandas()
    moment = pd.to_datetime(lines.TRANSACTION_DT, format="%m/%d/%Y", errors="coerce")
    if wrong := int(moment.isna().sum()):
        raise DataError(f"{path}: column TRANSACTION_DT: {wrong} of {len(lines)} rows are not like 11/30/2000")
    customer, item, group = (
        pd.factorize(lines[name], sort=True)[0].astype(np.int64) for name in COLUMNS[1:4]
    )  # fmt: skip
    shuffled = np.random.default_rng(0).permutation(int(item.max()) + 1)
    item, groups = shuffled[item], np.zeros(len(shuffled), np.int64)
    groups[item[::-1]] = group[::-1]
    return Receipts(
        customer=customer, item=item, day=(moment - START).dt.days.to_numpy(np.int64),
        pieces=lines.AMOUNT.to_numpy(np.float32),
        price=(lines.SALES_PRICE / lines.AMOUNT.clip(lower=1)).to_numpy(np.float32),
        group=groups, customers=int(customer.max()) + 1,
    )  # fmt: skip


def _returning(receipts: Receipts, start: int, end: int) -> Ints:
    """Customers with receipts in the days start…end − 1 and before."""
    return np.intersect1d(receipts.between(0, start).customer, receipts.between(start, end).customer)


def _bought(receipts: Receipts, customers: Ints, start: int, end: int) -> Ints:
    lines = receipts.between(start, end)
    row = np.full(receipts.customers, -1)
    row[customers] = np.arange(len(customers))
    known = row[lines.customer] >= 0
    return np.unique(row[lines.customer[known]] * receipts.items + lines.item[known])


class BasketJudge:
    """Figures of rankings [2, customers, K]: among all items, and among those new to the customer; −1 is none."""

    def __init__(self, bought: Ints, had: Ints, items: int) -> None:
        self._truths, self._items = (bought, np.setdiff1d(bought, had)), items

    def __call__(self, answer: Answer) -> Figures:
        """Judge."""
        figures: dict[str, float] = {}
        for prefix, ranked, truth in zip(("", "new_"), answer.scores, self._truths, strict=True):
            keys = np.where(ranked >= 0, np.arange(len(ranked))[:, None] * self._items + ranked, -1)
            hits, sizes = np.isin(keys, truth), np.bincount(truth // self._items, minlength=len(ranked))
            gains = 1.0 / np.log2(np.arange(2, 2 + K))
            ideal = np.cumsum(gains)[np.clip(sizes, 1, K) - 1]
            judged = sizes > 0
            figures[f"{prefix}recall@{K}"] = float((hits.sum(1) / np.maximum(sizes, 1))[judged].mean())
            figures[f"{prefix}ndcg@{K}"] = float(((hits * gains).sum(1) / ideal)[judged].mean())
        return figures


def _candidates(given: Given[Supermarket], name: str) -> Candidates:
    """Of a month of the problem: made once a run."""
    key = ("candidates", name)
    if key not in given.memo:
        month: Month = getattr(given.problem, name)
        shelf = _shelf(given, month.day)
        row, item = shelf.candidates(month.customers)
        given.memo[key] = Candidates(row=row, item=item, matrix=shelf.features(month.customers, row, item))
    found: Candidates = given.memo[key]
    return found


def _shelf(given: Given[Supermarket], day: int) -> Shelf:
    if ("shelf", day) not in given.memo:
        given.memo["shelf", day] = Shelf(given.problem.receipts, day)
    found: Shelf = given.memo["shelf", day]
    return found


def ranking(found: Candidates, scores: Floats, customers: int) -> Answer:
    """The best K of each customer, among all candidates and among new ones: [2, customers, K]."""
    result = np.full((2, customers, K), -1, np.int64)
    for one, kept in zip(result, (np.arange(len(scores)), np.flatnonzero(found.column("times") == 0)), strict=True):
        order = kept[np.lexsort((found.item[kept], -scores[kept], found.row[kept]))]
        row = found.row[order]
        place = np.arange(len(order)) - np.searchsorted(row, row)
        top = place < K
        one[row[top], place[top]] = found.item[order[top]]
    return Answer(result)


def predict(given: Given[Supermarket], parameters: Parameters, name: str) -> Answer:
    """The ranker's answer to `asked`, or to `validation`, which it learnt nothing of.

    It learns probabilities: on validation lambdarank ranked less well.
    """
    parts = [_useful(given, month) for month in (("before", "fit") if name == "asked" else ("before",))]
    matrix, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    booster = fit(Rows(matrix=matrix, labels=labels), parameters, given.seed)
    found = _candidates(given, name)
    scores = np.asarray(booster.predict(found.matrix), np.float32)
    return ranking(found, scores, len(getattr(given.problem, name).customers))


def _useful(given: Given[Supermarket], name: str) -> tuple[Floats, Ints]:
    """Features and labels of a month's customers who bought one of their candidates."""
    month, found = getattr(given.problem, name), _candidates(given, name)
    labels = np.isin(found.row * given.problem.receipts.items + found.item, month.bought).astype(np.int64)
    useful = np.isin(found.row, found.row[labels > 0])
    return found.matrix[useful], labels[useful]


def _scored(score: Callable[[Candidates], Floats], ours: bool = False) -> Model[Supermarket]:
    def answer(given: Given[Supermarket]) -> Answer:
        found = _candidates(given, "asked")
        return ranking(found, score(found), len(given.problem.asked.customers))

    return Model(answer=answer, ours=ours)


def _own(found: Candidates) -> Floats:
    """How often the customer bought it; where equal, customers of the last 30 days."""
    recent = found.column(f"users_{MONTH}d")
    return np.asarray(found.column("times") + recent / (float(recent.max(initial=0)) + 1))


def _objective(given: Given[Supermarket]) -> Objective:
    month, items = given.problem.validation, given.problem.receipts.items
    past = _bought(given.problem.receipts, month.customers, 0, month.day)
    if month.bought is None:
        raise ValueError("validation: what was bought is not known")
    judge = BasketJudge(month.bought, past, items)
    return lambda parameters: judge(predict(given, parameters, "validation"))[METRIC]


PROTOCOL = Protocol(
    name="ta-feng",
    title="Ta-Feng, baskets of the next month",
    folder="ta_feng",
    metric=METRIC,
    load=load,
    models={
        "popularity": _scored(lambda found: found.column("users")),
        "own-frequency": _scored(_own),
        "item-knn": _scored(lambda found: found.column("along")),
        "ranker": Model(
            answer=lambda given: predict(given, given.parameters["ranker"], "asked"),
            objective=_objective, space=SPACE, defaults=DEFAULTS, seeded=True,
        ),
    },
    published={},
    reference={
        "popularity": {"recall@10": 0.0618, METRIC: 0.0763, "new_recall@10": 0.0472, "new_ndcg@10": 0.0588},
        "own frequency, 30-day popularity": {"recall@10": 0.1066, METRIC: 0.1390},
        "item-knn": {"new_recall@10": 0.0471, "new_ndcg@10": 0.0576},
    },
)  # fmt: skip
