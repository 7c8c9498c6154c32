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


STRANGERS = np.array([800, 801, 802, 803, 804, 805])
DECIDED = {
    "five withdrawn": (NEAREST[0, :5], np.append(NEAREST[0, 5:], STRANGERS[:5])),
    "six that were out of stock are back": (STRANGERS, np.append(STRANGERS, NEAREST[0, :14])),
}


@pytest.mark.parametrize("case", DECIDED)
def test_what_the_overlay_decided_is_neither_expected_nor_in_the_way(case: str) -> None:
    decided, answer = DECIDED[case]
    assert golden_recall(NEAREST, [answer, NEAREST[1]], decided) == 1.0
    with pytest.raises(GateError):
        golden_recall(NEAREST, [answer, NEAREST[1]])


def test_an_empty_answer_is_refused_whatever_the_overlay_says() -> None:
    with pytest.raises(GateError):
        golden_recall(NEAREST, [NEAREST[0, :0], NEAREST[1, :0]], NEAREST[0, :5])
