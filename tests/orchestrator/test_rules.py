"""The business rules: known answers, and what must hold for any input."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model_repository.contract import RULE_COLUMNS
from orchestrator import rules
from orchestrator.policy import Blend, RulePolicy
from orchestrator.rules import Candidates

POLICY = RulePolicy()


def candidates(n: int, objectives: np.ndarray | None = None, **columns: object) -> Candidates:
    """n sellable items with keys 1…n, each of its own category, infinitely old unless columns say otherwise."""
    table = np.ones((n, len(RULE_COLUMNS)), np.float32)
    table[:, rules.CATEGORY] = np.arange(n)
    table[:, rules.AGE_DAYS] = np.inf
    for name, values in columns.items():
        table[:, RULE_COLUMNS.index(name)] = values
    ids = np.array([f"i{i}".encode() for i in range(n)], dtype="S8")
    return Candidates(keys=np.arange(1, n + 1), ids=ids, rules=table, objectives=objectives)


def test_the_blend_is_the_documented_formula():
    weights = Blend(relevance=0.5, ctr=0.2, cvr=0.1, revenue=0.2, revenue_scale=2.0)
    got = rules.blend(np.array([[0.8, 0.5, 0.4]], np.float32), np.array([10.0]), weights)
    revenue = 0.5 * 0.4 * 10
    assert got[0] == pytest.approx(0.5 * 0.8 + 0.2 * 0.5 + 0.1 * 0.4 + 0.2 * revenue / (revenue + 2.0))


@pytest.mark.parametrize("price", [0.0, -5.0, math.nan, math.inf])
def test_a_price_that_is_none_earns_nothing(price: float):
    got = rules.blend(np.full((1, 3), 0.5), np.array([price]), Blend())
    assert got[0] == pytest.approx(0.5 * (0.5 + 0.2 + 0.1))


@pytest.mark.parametrize(
    ("age", "multiplier"), [(0, 1.1), (30, 1 + 0.1 / math.e), (-5, 1.1), (math.nan, 1), (math.inf, 1)]
)
def test_freshness(age: float, multiplier: float):
    assert rules.freshness(np.array([age]), POLICY)[0] == pytest.approx(multiplier)


def test_freshness_reorders_equal_scores():
    items = candidates(2, np.full((2, 3), 0.5, np.float32), age_days=[100, 0])
    assert rules.select(rules.score(items, POLICY), items, rules.NO_KEYS, 2, POLICY).tolist() == [1, 0]


def test_without_a_ranker_the_retrieval_order_stands():
    items = candidates(3, age_days=[0, 50, 100])
    assert rules.select(rules.score(items, POLICY), items, rules.NO_KEYS, 3, POLICY).tolist() == [0, 1, 2]


@pytest.mark.parametrize("column", ["in_stock", "is_safe", "in_region"])
def test_what_may_not_be_shown_is_left_out_and_filled_up(column: str):
    items = candidates(4, **{column: [1, 0, 1, 1]})
    assert rules.select(-np.arange(4.0), items, rules.NO_KEYS, 3, POLICY).tolist() == [0, 2, 3]


def test_hidden_items_and_padding_are_left_out():
    items = candidates(4)
    items.keys[3] = 0
    assert rules.select(np.arange(4.0), items, np.array([2, 99, -1]), 4, POLICY).tolist() == [2, 0]


def test_at_most_three_of_a_category_in_the_first_ten():
    items = candidates(12, category=[7] * 6 + [1, 2, 3, 4, 5, 6])
    chosen = rules.select(-np.arange(12.0), items, rules.NO_KEYS, 12, POLICY)
    assert chosen.tolist() == [0, 1, 2, 6, 7, 8, 9, 10, 11, 3, 4, 5]


def test_one_category_still_fills_the_answer_in_order():
    items = candidates(12, category=7)
    assert rules.select(-np.arange(12.0), items, rules.NO_KEYS, 10, POLICY).tolist() == list(range(10))


def test_scores_that_are_not_finite_rank_last_and_ties_break_by_key():
    scores = np.array([math.nan, 1.0, math.inf, 1.0, -math.inf, 2.0])
    keys = np.array([5, 9, 3, 2, 1, 7])
    assert rules.ranked(scores, keys).tolist() == [5, 3, 1, 4, 2, 0]


def test_nothing_left_is_not_an_error():
    assert len(rules.select(np.empty(0), candidates(0), np.array([1]), 10, POLICY)) == 0
    assert len(rules.select(np.ones(3), candidates(3, in_stock=0), rules.NO_KEYS, 10, POLICY)) == 0


finite_or_not = st.floats(width=32) | st.just(math.nan)


@given(st.data())
def test_any_input_yields_distinct_allowed_rows(data: st.DataObject):
    n = data.draw(st.integers(0, 60))
    k = data.draw(st.integers(1, 30))
    objectives = data.draw(hnp.arrays(np.float32, (n, 3), elements=st.floats(0, 1, width=32) | st.just(math.nan)))
    items = candidates(
        n,
        objectives,
        price=data.draw(hnp.arrays(np.float32, n, elements=st.floats(0, 1e6, width=32) | st.just(math.nan))),
        category=data.draw(hnp.arrays(np.float32, n, elements=st.integers(0, 4))),
        in_stock=data.draw(hnp.arrays(np.float32, n, elements=st.sampled_from([0.0, 1.0]))),
    )
    hidden = data.draw(hnp.arrays(np.int64, st.integers(0, 20), elements=st.integers(-5, 65)))
    rows = rules.select(rules.score(items, POLICY), items, hidden, k, POLICY)
    allowed = {r for r in range(n) if items.rules[r, rules.IN_STOCK] > 0 and items.keys[r] not in hidden}
    assert set(rows.tolist()) <= allowed
    assert len(set(rows.tolist())) == len(rows) == min(k, len(allowed))
    assert diverse_enough(items.rules[:, rules.CATEGORY], rows, allowed)


def diverse_enough(categories: np.ndarray, rows: np.ndarray, allowed: set[int]) -> bool:
    """At most three of a category in the first ten, unless there are too few categories to fill them."""
    _, available = np.unique(categories[sorted(allowed)], return_counts=True)
    _, shown = np.unique(categories[rows[:10]], return_counts=True)
    possible = int(np.minimum(available, 3).sum())
    return bool((shown <= 3).all()) or possible < min(10, len(rows))


@given(hnp.arrays(np.int64, st.integers(0, 50)), hnp.arrays(np.int64, st.integers(1, 20)))
def test_contained_is_membership(keys: np.ndarray, hidden: np.ndarray):
    assert rules.contained(keys, hidden).tolist() == np.isin(keys, hidden).tolist()


def test_negative_weights_are_refused():
    with pytest.raises(ValueError, match="weights"):
        Blend(ctr=-0.1)
