"""Whether a canary is worse than the champion. Pure: two tallies of the same time in, a verdict out.

A guardrail is broken when the canary is worse by more than a tolerance *and* chance does not explain it. The level is
small because the guard looks again and again (each look is another chance to be wrong): at 0.001 and a look every five
seconds the tolerance, not the level, is what keeps a healthy canary in place.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, fisher_exact

from model_repository.traffic import LATENCY_BOUNDS_S, Tally

TAIL = 0.01  # p99


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrails:
    """Shares of answers, seconds; `min_answers` in each arm before shares and p99 are compared at all."""

    failed: float = 0.005
    degraded: float = 0.02
    p99_factor: float = 1.5
    p99_added_s: float = 0.02
    min_answers: int = 500
    level: float = 0.001
    expected_silent: float = 100.0  # answers a canary should have given; none at all then is no chance

    def __post_init__(self) -> None:
        if not (0 < self.failed < 1 and 0 < self.degraded < 1 and 0 < self.level < 0.5):
            raise ValueError("failed, degraded and level are shares between 0 and 1")
        if self.p99_factor < 1 or self.p99_added_s < 0 or self.min_answers < 1:
            raise ValueError("p99_factor is at least 1, p99_added_s at least 0, min_answers at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`broken` says which guardrail and with what figures; empty while none is. `enough` answers came to judge by."""

    broken: str = ""
    enough: bool = False


def judge(champion: Tally, canary: Tally, share: float, guardrails: Guardrails) -> Verdict:
    """Compare what both arms answered in the same time; `share` is the canary's of the users."""
    if silent(champion, canary, share, guardrails):
        asked = champion.answers + champion.failed
        return Verdict(broken=f"no answer at all, while the champion answered {asked} requests", enough=True)
    if min(champion.answers + champion.failed, canary.answers + canary.failed) < guardrails.min_answers:
        return Verdict()
    found = (
        _failed(champion, canary, guardrails)
        or _degraded(champion, canary, guardrails)
        or _slow(champion, canary, guardrails)
    )
    return Verdict(broken=found, enough=True)


def silent(champion: Tally, canary: Tally, share: float, guardrails: Guardrails) -> bool:
    """Whether the canary said nothing where it should have answered many (P(0) = e^−expected, for many users: of a
    handful, none may be the canary's)."""
    expected = (champion.answers + champion.failed) * share / (1.0 - share)
    return canary.answers + canary.failed == 0 and expected >= guardrails.expected_silent


def p99(tally: Tally) -> float:
    """Seconds, linear within its bucket as Prometheus's histogram_quantile; beyond the last bound, infinite."""
    if not tally.answers:
        return 0.0
    counts = np.array(tally.latency, float)
    target, before = (1.0 - TAIL) * counts.sum(), 0.0
    for i, count in enumerate(counts):
        if before + count >= target:
            if i == len(LATENCY_BOUNDS_S):
                return float("inf")
            low = LATENCY_BOUNDS_S[i - 1] if i else 0.0
            return float(low + (LATENCY_BOUNDS_S[i] - low) * (target - before) / count)
        before += count
    return float("inf")


def slower(tally: Tally, seconds: float) -> int:
    """Answers that took longer than the first bucket bound at or above `seconds`."""
    first = int(np.searchsorted(LATENCY_BOUNDS_S, seconds))
    return sum(tally.latency[first + 1 :])


def _failed(champion: Tally, canary: Tally, guardrails: Guardrails) -> str:
    mine, other = canary.answers + canary.failed, champion.answers + champion.failed
    worse = _worse(canary.failed, mine, champion.failed, other, guardrails.failed, guardrails.level)
    return worse and f"{worse} failed; more than {100 * guardrails.failed:g} points apart"


def _degraded(champion: Tally, canary: Tally, guardrails: Guardrails) -> str:
    counts = canary.degraded, canary.answers, champion.degraded, champion.answers
    worse = _worse(*counts, guardrails.degraded, guardrails.level)
    return worse and f"{worse} degraded; more than {100 * guardrails.degraded:g} points apart"


def _worse(bad: int, of: int, other_bad: int, other_of: int, tolerance: float, level: float) -> str:
    """Fisher's exact test, one-sided, of two shares; the figures when the first is worse."""
    if not of or not other_of or bad / of - other_bad / other_of <= tolerance:
        return ""
    table = [[bad, of - bad], [other_bad, other_of - other_bad]]
    if fisher_exact(table, alternative="greater").pvalue >= level:
        return ""
    return f"{100 * bad / of:.2f} % of {of} answers (champion {100 * other_bad / other_of:.2f} % of {other_of})"


def _slow(champion: Tally, canary: Tally, guardrails: Guardrails) -> str:
    """The canary's p99 is above the limit exactly when more than 1 % of its answers are slower: a binomial test."""
    base = p99(champion)
    limit = max(guardrails.p99_factor * base, base + guardrails.p99_added_s)
    late = slower(canary, limit)
    if late / max(canary.answers, 1) <= TAIL:
        return ""
    if binomtest(late, canary.answers, TAIL, alternative="greater").pvalue >= guardrails.level:
        return ""
    return f"p99 {_ms(p99(canary))} over {canary.answers} answers, the champion's is {_ms(base)}"


def _ms(seconds: float) -> str:
    last = LATENCY_BOUNDS_S[-1]
    return f"{1000 * seconds:.0f} ms" if seconds <= last else f"more than {1000 * last:.0f} ms"
