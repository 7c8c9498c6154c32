"""A drill, and what it found."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perf.drill.bench import Bench

Figure = float | str | dict[str, int] | list[str]


@dataclass(slots=True)
class Report:
    """Figures, and every expectation that did not hold."""

    figures: dict[str, Figure] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note a problem unless it holds."""
        if not holds:
            self.problems.append(otherwise)

    def most(self, name: str, value: float, limit: float) -> None:
        """Note a figure that may not exceed the limit."""
        self.figures[name] = round(value, 3)
        self.expect(value <= limit, f"{name} is {value:.3g}, at most {limit:g}")

    def least(self, name: str, value: float, limit: float) -> None:
        """Note a figure that may not fall below the limit."""
        self.figures[name] = round(value, 3)
        self.expect(value >= limit, f"{name} is {value:.3g}, at least {limit:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One fault. Its number is that of the list in docs/reliability.md; what is done is the function's docstring."""

    name: str
    fault: int
    work: Callable[["Bench", Report], None]
    kills: bool = False  # Triton itself

    @property
    def what(self) -> str:
        """One sentence: what is done, and what is expected."""
        return " ".join((self.work.__doc__ or "").split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one went; `seconds` are those of the whole drill."""

    drill: Drill
    report: Report
    seconds: float

    @property
    def passed(self) -> bool:
        """Nothing failed to hold."""
        return not self.report.problems

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.drill.name, "fault": self.drill.fault, "passed": self.passed,
            "detail": self.drill.what if self.passed else "; ".join(self.report.problems),
            "seconds": round(self.seconds, 1), "figures": self.report.figures,
        }  # fmt: skip
