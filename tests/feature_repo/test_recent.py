"""Known answers for how what a user did lately joins the history of a row."""

import numpy as np
import pytest

from feature_repo.recent import DAY, Action, merged, pack_action, unpack_actions
from feature_repo.schema import HISTORY
from feature_repo.served import EVENT_TYPES, GRADES
from feature_repo.vectors import NO_HISTORY, history_entry, item_key, sequence

A, B, C = (item_key(name) for name in "abc")
VIEW, CLICK, CART, PURCHASE, FAVORITE = range(len(EVENT_TYPES))
NOON = 20_000 * DAY + DAY // 2
SECOND = 1_000_000


def did(key: int, at: int, kind: int = CLICK) -> Action:
    return Action(at, key, 7, kind)


def entries(*days: tuple[int, int]) -> list[int]:
    return [history_entry(key, grade) for key, grade in days]


def names(history: np.ndarray) -> list[int]:
    return [entry for entry in history.tolist() if entry]


def test_nothing_done_leaves_the_history_as_it_is() -> None:
    history = sequence(entries((A, 1)))
    assert merged(history, []) is history
    assert merged(history, [did(A, NOON)], since=NOON) is history


def test_the_latest_comes_first_and_in_front_of_the_row() -> None:
    actions = [did(B, NOON + SECOND), did(C, NOON + 2 * SECOND, PURCHASE)]
    assert names(merged(sequence(entries((A, 2))), actions)) == entries((C, 3), (B, 1), (A, 2))


@pytest.mark.parametrize("order", [1, -1])
def test_an_item_is_once_a_day_at_its_last_moment_with_its_highest_grade(order: int) -> None:
    actions = [did(A, NOON, CART), did(B, NOON + SECOND), did(A, NOON + 2 * SECOND, VIEW), did(A, NOON + DAY)]
    assert names(merged(NO_HISTORY, actions[::order])) == entries((A, 1), (A, 2), (B, 1))


def test_what_the_row_holds_already_is_not_doubled() -> None:
    actions = [did(A, NOON - SECOND), did(B, NOON + SECOND)]
    assert names(merged(sequence(entries((A, 1))), actions, since=NOON)) == entries((B, 1), (A, 1))


def test_an_item_day_that_was_under_way_when_the_row_was_computed_moves_to_the_front() -> None:
    row = sequence(entries((B, 1), (A, 3), (A, 2)))  # today: b, then a before it; a also on another day
    actions = [did(A, NOON - 9 * SECOND, PURCHASE), did(B, NOON - SECOND), did(A, NOON + SECOND)]
    assert names(merged(row, actions, since=NOON)) == entries((A, 3), (B, 1), (A, 2))


def test_the_oldest_fall_off() -> None:
    full = sequence(entries(*[(item_key(str(n)), 1) for n in range(HISTORY)]))
    result = merged(full, [did(A, NOON)])
    assert len(result) == HISTORY
    assert result.tolist() == [*entries((A, 1)), *full.tolist()[:-1]]
    assert result.dtype == np.int64


def test_actions_survive_packing_and_what_is_none_is_left_out() -> None:
    action = Action(NOON, A, 2**64 - 1, FAVORITE)
    odd = pack_action(Action(NOON, A, 1, len(EVENT_TYPES)))
    assert unpack_actions([pack_action(action), b"torn", odd, b""]) == [action]


def test_every_event_type_has_a_grade() -> None:
    assert set(GRADES) == set(EVENT_TYPES)
    assert GRADES == {"view": 1, "click": 1, "add_to_cart": 2, "favorite": 2, "purchase": 3}  # the design's words
