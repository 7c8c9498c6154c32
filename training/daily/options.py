"""What a daily run is told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from training.daily.gate import TOLERANCES, Mode, Rules
from training.daily.volume import Limits
from training.errors import DataError

PERCENT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`day` is the newest day whose data is complete; of an `early` run, a day that still goes on.

    `percent` of the users see the challenger, 0: nobody. `allowed` days are not judged by their volume.
    """

    day: date
    early: bool = False
    percent: float = PERCENT
    rules: Rules = field(default_factory=Rules)
    limits: Limits = field(default_factory=Limits)
    allowed: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        if not 0 <= self.percent < 100:
            raise ValueError(f"percent {self.percent:g}: a canary takes 0 or more and less than 100 % of the users")

    @property
    def key(self) -> str:
        """Its folder below settings.daily: one run a day, and at most one early one."""
        return f"{self.day}-early" if self.early else str(self.day)


def options_of(
    day: str | None, early: bool, percent: float, mode: Mode, margin: float, tolerances: Sequence[str],
    limits: tuple[float, float, float], allowed: Sequence[str],
) -> Options:  # fmt: skip
    """Options as a command line gives them. Raises DataError naming what is wrong."""
    least, most, clean = limits
    try:
        return Options(
            day=date.fromisoformat(day) if day else _today() - timedelta(days=0 if early else 1),
            early=early,
            percent=percent,
            rules=rules_of(mode, margin, tolerances),
            limits=Limits(least=least, most=most, clean=clean),
            allowed=frozenset(date.fromisoformat(one) for one in allowed),
        )
    except ValueError as error:
        raise DataError(str(error)) from None


def rules_of(mode: Mode, margin: float, tolerances: Sequence[str]) -> Rules:
    """The gate's rules; tolerances as `figure=value`. Raises ValueError."""
    given = dict(TOLERANCES)
    for text in tolerances:
        name, sign, value = text.partition("=")
        if not sign:
            raise ValueError(f"tolerance {text}: not figure=value; figures: {', '.join(TOLERANCES)}")
        given[name] = float(value)
    return Rules(mode=mode, margin=margin, tolerances=given)


def _today() -> date:
    return datetime.now(UTC).date()
