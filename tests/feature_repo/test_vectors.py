"""Rows become arrays one way only: defaults, order, dtypes, keys."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.feature import Dtype, Feature
from feature_repo.schema import HISTORY, ITEM_WIDTH, SCHEMA
from feature_repo.vectors import (
    ITEM_DEFAULTS,
    USER_DEFAULTS,
    cold_user,
    columns_to_array,
    history_entry,
    item_key,
    rows_to_array,
    sequence,
    stored,
)

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


def test_an_empty_row_is_the_defaults() -> None:
    assert np.array_equal(rows_to_array("user", [{}])[0], USER_DEFAULTS)
    assert np.array_equal(rows_to_array("item", [{}])[0], ITEM_DEFAULTS)
    assert rows_to_array("item", []).shape == (0, SCHEMA.width("item"))


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_the_default(value: float | None) -> None:
    array = rows_to_array("user", [{"user_days_since_event": value, "user_age": 40}])[0]
    assert array[SCHEMA.offset("user_days_since_event")] == 90
    assert array[SCHEMA.offset("user_age")] == 40


@pytest.mark.parametrize("value", ["many", {}, [1.0, 2.0]])
def test_a_value_that_does_not_fit_names_the_feature(value: object) -> None:
    with pytest.raises(ValueError, match="feature user_age"):
        rows_to_array("user", [{"user_age": value}])


def test_a_vector_of_another_width_names_the_feature() -> None:
    with pytest.raises(ValueError, match=r"user_price_affinity: shape \(3,\), expected \(8,\)"):
        rows_to_array("user", [{"user_price_affinity": [0.1, 0.2, 0.3]}])


@given(st.lists(st.lists(FLOATS, min_size=ITEM_WIDTH, max_size=ITEM_WIDTH), min_size=1, max_size=4))
def test_columns_and_rows_give_the_same_array(table: list[list[float]]) -> None:
    wide = np.array(table, np.float32)
    columns = {f.name: wide[:, SCHEMA.columns(f.name)].squeeze() if f.width == 1 else wide[:, SCHEMA.columns(f.name)]
               for f in SCHEMA.group("item")}  # fmt: skip
    columns = {name: np.atleast_1d(values) for name, values in columns.items()}
    rows = [{name: values[n] for name, values in columns.items()} for n in range(len(table))]
    assert np.array_equal(rows_to_array("item", rows), columns_to_array("item", columns))


@pytest.mark.parametrize(
    ("dtype", "value", "held"),
    [
        ("uint8", 300.0, 255.0),
        ("uint8", -3.0, 0.0),
        ("uint16", 70_000.0, 65_535.0),
        ("float16", 1e6, 65_504.0),
        ("float16", 1 / 3, 0.333251953125),
        ("float32", 1e30, np.float32(1e30)),
    ],
)
def test_a_value_is_rounded_to_what_its_dtype_can_say(dtype: Dtype, value: float, held: float) -> None:
    feature = Feature(name="x", group="user", description="", source="", owner="", dtype=dtype)
    assert stored(feature, np.array([value], np.float32))[0] == np.float32(held)


def test_a_history_is_padded_and_cut_at_its_length() -> None:
    assert sequence(None).tolist() == [0] * HISTORY
    assert sequence([7, 9]).tolist() == [7, 9] + [0] * (HISTORY - 2)
    assert sequence(range(1, HISTORY + 9)).tolist() == list(range(1, HISTORY + 1))


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 3))
def test_a_history_entry_holds_key_and_grade(key: int, grade: int) -> None:
    entry = history_entry(key, grade)
    assert entry & 3 == grade
    assert entry & ~3 == key & ~3


def test_keys_identify_items() -> None:
    keys = {item_key(f"i{n}") for n in range(10_000)}
    assert len(keys) == 10_000
    assert 0 not in keys
    assert item_key("i00001") == item_key("i00001")


def test_a_cold_user_is_the_defaults_and_a_country() -> None:
    cold = cold_user("DE")
    changed = np.flatnonzero(cold != USER_DEFAULTS)
    assert list(changed) == [SCHEMA.offset("user_country")]
