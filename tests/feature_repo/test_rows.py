"""A packed row gives back what was packed, bit for bit, and refuses what is not one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.rows import FIXED, UserRow, pack_user_row, unpack_user_row, user_key
from feature_repo.schema import HISTORY, SCHEMA, USER_WIDTH
from feature_repo.vectors import NO_HISTORY, USER_DEFAULTS, columns_to_array, sequence

FLOATS = st.lists(st.floats(width=32), min_size=USER_WIDTH, max_size=USER_WIDTH)
ENTRIES = st.lists(st.integers(-(2**63), 2**63 - 1).filter(bool), max_size=HISTORY)


def _stored(values: list[float]) -> np.ndarray:
    wide = np.array([values], np.float32)
    columns = {f.name: wide[:, SCHEMA.columns(f.name)] for f in SCHEMA.group("user")}
    return columns_to_array("user", {n: c[:, 0] if c.shape[1] == 1 else c for n, c in columns.items()})[0]


@given(FLOATS, ENTRIES, st.integers(0, 2**40))
def test_packing_keeps_every_bit(values: list[float], entries: list[int], computed_at: int) -> None:
    row = UserRow(values=_stored(values), history=sequence(entries), computed_at=computed_at)
    found = unpack_user_row(pack_user_row(row))
    assert found.values.tobytes() == row.values.tobytes()
    assert found.history.tobytes() == row.history.tobytes()
    assert found.computed_at == computed_at


def test_a_row_without_history_takes_its_fixed_size() -> None:
    packed = pack_user_row(UserRow(values=USER_DEFAULTS, history=NO_HISTORY))
    assert len(packed) == FIXED < USER_WIDTH * 4


@pytest.mark.parametrize("cut", [1, 8, FIXED])
def test_a_packed_row_of_another_length_is_refused(cut: int) -> None:
    packed = pack_user_row(UserRow(values=USER_DEFAULTS, history=sequence([5])))
    with pytest.raises(ValueError, match=f"packed user row has {len(packed) - cut} bytes"):
        unpack_user_row(packed[:-cut])


def test_a_row_that_claims_a_longer_history_than_it_has_is_refused() -> None:
    packed = bytearray(pack_user_row(UserRow(values=USER_DEFAULTS, history=sequence([5]))))
    packed[8:16] = (2**40).to_bytes(8, "little")
    with pytest.raises(ValueError, match="history entries"):
        unpack_user_row(bytes(packed))


def test_features_of_another_width_are_not_packed() -> None:
    with pytest.raises(ValueError, match="expected"):
        pack_user_row(UserRow(values=USER_DEFAULTS[:-1], history=NO_HISTORY))


def test_the_key_carries_the_schema() -> None:
    assert user_key("u1") == f"user:{SCHEMA.hash}:u1"
