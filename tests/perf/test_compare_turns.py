"""Taking turns and summarising them: order, pairs, known numbers."""

import pytest

from perf.compare.turns import Spread, medians, ratios, take_turns
from perf.errors import PerfError


def test_everybody_has_a_turn_in_each_round() -> None:
    calls: list[str] = []

    def contestant(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    samples = take_turns({"a": lambda: contestant("a"), "b": lambda: contestant("b")}, rounds=2, warm_up=1)
    assert calls == ["a", "b"] * 3
    assert samples == {"a": [3.0, 5.0], "b": [4.0, 6.0]}  # the first round does not count


def test_ratios_are_formed_within_a_round() -> None:
    """The machine was half as fast in the second round; the ratio does not know."""
    assert ratios([400.0, 200.0, 600.0], [100.0, 50.0, 100.0]) == Spread(median=4.0, least=4.0, most=6.0)
    assert ratios([400.0, 200.0, 600.0], [100.0, 50.0, 100.0]).rounded() == [4.0, 4.0, 6.0]


def test_a_ratio_needs_whole_rounds_and_a_peer_that_answers() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0, 2.0], [1.0])
    with pytest.raises(PerfError, match="a peer gave nothing"):
        ratios([1.0, 2.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="no samples"):
        ratios([], [])


def test_a_spread_is_in_order() -> None:
    with pytest.raises(ValueError, match="not between"):
        Spread(median=1.0, least=2.0, most=3.0)


def test_medians_by_contestant() -> None:
    assert medians({"a": [1.0, 9.0, 2.0], "b": [4.0, 5.0]}) == {"a": 2.0, "b": 4.5}
