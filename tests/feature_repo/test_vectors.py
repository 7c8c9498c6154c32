"""Rows become arrays one way only: defaults, order, packing, keys."""

import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.schema import SCHEMA, USER_WIDTH
from feature_repo.vectors import (
    ITEM_DEFAULTS,
    USER_DEFAULTS,
    cold_user,
    columns_to_array,
    context_array,
    item_key,
    pack_user_row,
    rows_to_array,
    unpack_user_row,
    user_key,
)

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


def test_an_empty_row_is_the_defaults() -> None:
    assert np.array_equal(rows_to_array("user", [{}])[0], USER_DEFAULTS)
    assert np.array_equal(rows_to_array("item", [{}])[0], ITEM_DEFAULTS)
    assert rows_to_array("item", []).shape == (0, SCHEMA.width("item"))


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_the_default(value: float | None) -> None:
    array = rows_to_array("user", [{"user_days_since_event": value, "user_age": 40}])[0]
    assert array[SCHEMA.offset("user_days_since_event")] == 365
    assert array[SCHEMA.offset("user_age")] == 40


@pytest.mark.parametrize("value", ["many", {}, [1.0, 2.0]])
def test_a_value_that_does_not_fit_names_the_feature(value: object) -> None:
    with pytest.raises(ValueError, match="feature user_age"):
        rows_to_array("user", [{"user_age": value}])


def test_a_vector_of_another_width_names_the_feature() -> None:
    with pytest.raises(ValueError, match=r"user_price_affinity: shape \(3,\), expected \(8,\)"):
        rows_to_array("user", [{"user_price_affinity": [0.1, 0.2, 0.3]}])


@given(st.lists(st.lists(FLOATS, min_size=18, max_size=18), min_size=1, max_size=4))
def test_columns_and_rows_give_the_same_array(table: list[list[float]]) -> None:
    names = [feature.name for feature in SCHEMA.group("item")]
    rows = [dict(zip(names, row, strict=True)) for row in table]
    columns = {name: [row[n] for row in table] for n, name in enumerate(names)}
    assert np.array_equal(rows_to_array("item", rows), columns_to_array("item", columns))


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=USER_WIDTH, max_size=USER_WIDTH), st.integers(0, 2**40))
def test_packing_keeps_every_bit(values: list[float], computed_at: int) -> None:
    row = np.array(values, np.float32)
    unpacked, moment = unpack_user_row(pack_user_row(row, computed_at))
    assert unpacked.tobytes() == row.tobytes()
    assert moment == computed_at


def test_a_packed_row_of_another_length_is_refused() -> None:
    packed = pack_user_row(USER_DEFAULTS, 1)
    with pytest.raises(ValueError, match=f"{len(packed) - 1} bytes, expected {len(packed)}"):
        unpack_user_row(packed[:-1])
    with pytest.raises(ValueError, match="expected"):
        pack_user_row(USER_DEFAULTS[:-1], 1)


def test_keys_carry_the_schema_and_identify_items() -> None:
    assert user_key("u1") == f"user:{SCHEMA.hash}:u1"
    keys = {item_key(f"i{n}") for n in range(10_000)}
    assert len(keys) == 10_000
    assert 0 not in keys
    assert item_key("i00001") == item_key("i00001")


def test_a_cold_user_is_the_defaults_and_a_country() -> None:
    cold = cold_user("DE")
    changed = np.flatnonzero(cold != USER_DEFAULTS)
    assert list(changed) == [SCHEMA.offset("user_country")]


def test_context_is_cyclical_and_in_utc() -> None:
    saturday_six = datetime(2026, 9, 26, 6, tzinfo=UTC)
    array = context_array(saturday_six, "mobile", "DE", "home", position=3)
    np.testing.assert_allclose(array[:5], [1, 0, math.sin(10 * math.pi / 7), math.cos(10 * math.pi / 7), 1], atol=1e-6)
    assert list(array[5:]) == [1, 83, 1, 3]
    elsewhere = saturday_six.astimezone(timezone(timedelta(hours=9)))
    assert np.array_equal(context_array(elsewhere, "mobile", "DE", "home", 3), array)


def test_unknown_context_is_zero() -> None:
    array = context_array(datetime(2026, 9, 23, tzinfo=UTC), "fridge", None, None)
    assert list(array[5:]) == [0, 0, 0, 0]
