"""A canary that is worse is noticed, one that is not is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.guard.judge import Guardrails, judge, p99, slower
from model_repository.traffic import Tally
from tests.exporters.canaries import BUCKETS, FAST, tally


def verdict(canary: Tally, champion: Tally | None = None, share: float = 0.05) -> str:
    return judge(champion or tally(20_000), canary, share, Guardrails()).broken


def test_an_equal_canary_stays() -> None:
    assert verdict(tally()) == ""
    same = tally(20_000, failed=400, degraded=2000, slow=1000)
    assert verdict(tally(1000, failed=20, degraded=100, slow=50), same) == ""


def test_failures_break() -> None:
    assert "2.91 % of 1030 answers" in verdict(tally(failed=30))
    assert "failed" in verdict(tally(failed=30))


def test_degraded_answers_break() -> None:
    assert "6.00 % of 1000 answers (champion 0.00 % of 20000) degraded" in verdict(tally(degraded=60))


def test_slow_answers_break() -> None:
    assert verdict(tally(slow=40)).startswith("p99 ")
    assert "the champion's is 10 ms" in verdict(tally(slow=40))


def test_beyond_the_last_bound_nobody_says_how_slow() -> None:
    stuck = Tally(answers=1000, latency=(*[0] * FAST, 900, *[0] * (BUCKETS - FAST - 2), 100))
    assert verdict(stuck).startswith("p99 more than 1000 ms over 1000 answers")


def test_a_few_slow_ones_are_chance() -> None:
    assert verdict(tally(slow=12)) == ""


def test_a_few_failures_are_chance() -> None:
    """1 % of 505 against 0.2 %: 0.8 points apart, but five instead of one happens in four of 1000 looks."""
    few = tally(500, failed=5)
    assert verdict(few, tally(20_000, failed=40)) == ""
    assert verdict(tally(5000, failed=50), tally(20_000, failed=40))


def test_a_significant_trifle_is_tolerated() -> None:
    """0.4 points more failures, of so many answers that chance is out of the question."""
    assert verdict(tally(1_000_000, failed=4000), tally(1_000_000)) == ""


def test_too_few_answers_decide_nothing() -> None:
    found = judge(tally(20_000), tally(400, failed=90), 0.05, Guardrails())
    assert (found.broken, found.enough) == ("", False)


def test_silence_where_many_were_expected_breaks() -> None:
    none = tally(0)
    assert "no answer at all" in verdict(none, tally(20_000), share=0.05)
    assert verdict(none, tally(1000), share=0.05) == ""  # 53 expected: the record may just have changed


@given(st.integers(500, 5000), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_canary_never_breaks_against_itself(n: int, failed: float, degraded: float, slow: float) -> None:
    both = tally(n, failed=int(n * failed), degraded=int(n * degraded), slow=int(n * slow))
    assert verdict(both, both, share=0.5) == ""


@given(st.integers(0, 1000), st.integers(0, 200))
def test_more_failures_never_mend_a_verdict(failed: int, more: int) -> None:
    if verdict(tally(failed=failed)):
        assert verdict(tally(failed=failed + more))


def test_p99_is_within_its_bucket() -> None:
    assert p99(tally(100)) == pytest.approx(0.0075 + 0.0025 * 0.99)
    assert p99(tally(0)) == 0.0
    assert p99(Tally(answers=1, latency=(*[0] * (BUCKETS - 1), 1))) == float("inf")
    assert slower(tally(100, slow=7), 0.02) == 7
    assert slower(tally(100, slow=7), 0.2) == 0


@pytest.mark.parametrize("wrong", [{"failed": 0.0}, {"level": 0.6}, {"p99_factor": 0.5}, {"min_answers": 0}])
def test_guardrails_without_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"at least|between"):
        Guardrails(**wrong)  # type: ignore[arg-type]
