"""The most active users of all batches, in bounded memory."""

import numpy as np

from feature_repo.active import MostActive


def events(*counts: float) -> np.ndarray:
    return np.array(counts, np.float32)


def test_the_most_active_of_all_batches_come_first():
    active = MostActive(most=3)
    active.add(["a", "b", "c"], events(1, 5, 2))
    active.add(["d", "e"], events(9, 3))
    assert active.ids() == ["d", "b", "e"]


def test_who_did_nothing_is_not_active():
    active = MostActive()
    active.add(["a", "b", "c", "d"], events(0, np.nan, np.inf, 2))
    assert active.ids() == ["d"]


def test_equals_stay_in_the_order_they_came():
    active = MostActive(most=2)
    active.add(["a", "b"], events(1, 1))
    active.add(["c"], events(1))
    assert active.ids() == ["a", "b"]


def test_nobody_is_active_at_first():
    assert MostActive().ids() == []
