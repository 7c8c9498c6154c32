"""The golden gate: what Triton answers must be what the build found nearest."""

import numpy as np
import pytest

from exporters.errors import GateError
from exporters.golden import LEAST_RECALL, golden_recall

NEAREST = np.arange(40).reshape(2, 20)


def answers(missed: int) -> list[np.ndarray]:
    """All but `missed` of the first user's, in another order, all of the second's, and strangers."""
    return [np.append(NEAREST[0, missed:][::-1], [900, 901]), NEAREST[1]]


def test_answers_in_any_order_count() -> None:
    assert golden_recall(NEAREST, answers(0)) == 1.0
    assert golden_recall(NEAREST, answers(4)) == LEAST_RECALL


def test_fewer_hits_than_the_gate_asks_for_are_refused() -> None:
    with pytest.raises(GateError, match=r"golden recall 0\.875, need 0\.9"):
        golden_recall(NEAREST, answers(5))
