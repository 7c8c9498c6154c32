"""The gate: is the challenger better than the champion, or as good and fresher? Pure; both on the same test window.

superior        AUC at least `margin` above the champion's
non-inferior    AUC not below it by more than its tolerance, and learnt from newer data; the daily default
in both         NDCG@10, calibration and coverage not worse than the champion's by more than their tolerances

A figure that neither has (too few positives, no impressions) is not judged, except AUC, without which nothing is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

Mode = Literal["superior", "non-inferior"]
AUC = "auc"
TOLERANCES = {AUC: 0.005, "ndcg_at_10": 0.01, "calibration_error": 0.01, "coverage_at_100": 0.05}
LOWER_IS_BETTER = ("calibration_error",)
MARGIN = 0.01
SLACK = 1e-9  # of a figure that lies at its limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What passes: the mode, the margin of `superior`, and how much worse each figure may be."""

    mode: Mode = "non-inferior"
    margin: float = MARGIN
    tolerances: Mapping[str, float] = field(default_factory=lambda: dict(TOLERANCES))

    def __post_init__(self) -> None:
        unknown = sorted(set(self.tolerances) - set(TOLERANCES))
        if unknown:
            raise ValueError(f"tolerance {unknown[0]}: no such figure; known: {', '.join(TOLERANCES)}")
        wrong = next((name for name, value in self.tolerances.items() if not value >= 0), None)
        if wrong or not self.margin > 0:
            raise ValueError(f"{wrong or 'margin'}: a margin is above 0, a tolerance 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One side: its figures by name on the test window, and the moment its data ended."""

    figures: Mapping[str, float | None]
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure of both, the limit the challenger had to keep, and whether it did."""

    name: str
    champion: float | None
    challenger: float | None
    limit: float | None
    passed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All checks; the challenger passes when each did."""

    mode: Mode
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether it may go on."""
        return all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """Why not, every failed check."""
        return "; ".join(check.reason for check in self.checks if not check.passed)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "passed": self.passed, "reason": self.reason}


def decide(champion: Judged | None, challenger: Judged, rules: Rules) -> Verdict:
    """Judge a challenger. Without a champion it passes when it can be judged at all."""
    return Verdict(mode=rules.mode, checks=tuple(_checks(champion, challenger, rules)))


def _checks(champion: Judged | None, challenger: Judged, rules: Rules) -> Iterator[Check]:
    for name in TOLERANCES:
        before, now = champion.figures.get(name) if champion else None, challenger.figures.get(name)
        yield _check(name, before, now, rules)
    if champion is not None and rules.mode == "non-inferior":
        fresher = challenger.as_of > champion.as_of
        reason = f"not fresher: learnt from data until {challenger.as_of}, the champion's until {champion.as_of}"
        yield Check(name="fresher", champion=None, challenger=None, limit=None, passed=fresher, reason=reason)


def _check(name: str, before: float | None, now: float | None, rules: Rules) -> Check:
    if now is None:
        missing = name == AUC or before is not None
        reason = f"{name}: the challenger has none, too few positives in the test window"
        return Check(name=name, champion=before, challenger=None, limit=None, passed=not missing, reason=reason)
    if before is None:
        return Check(name=name, champion=None, challenger=now, limit=None, passed=True)
    limit, said = _limit(name, before, rules)
    passed = now <= limit + SLACK if name in LOWER_IS_BETTER else now >= limit - SLACK
    reason = f"{name} {now:.4f} against {before:.4f}: {said}"
    return Check(name=name, champion=before, challenger=now, limit=limit, passed=passed, reason=reason)


def _limit(name: str, before: float, rules: Rules) -> tuple[float, str]:
    if name == AUC and rules.mode == "superior":
        return before + rules.margin, f"superior means at least {rules.margin:g} more"
    tolerance = rules.tolerances.get(name, TOLERANCES[name])
    if name in LOWER_IS_BETTER:
        return before + tolerance, f"at most {tolerance:g} more is tolerated"
    return before - tolerance, f"at most {tolerance:g} less is tolerated"
