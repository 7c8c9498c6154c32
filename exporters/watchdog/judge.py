"""Whether a model version is broken, from what it answered. Pure: seconds come in, verdicts go out.

Triton gives up on a python stub that gave no sign of life for a second, dead or hung, and says so in the answer; the
model stays READY all the same. A stub may also hang and still give signs of life: then nothing comes back at all.
A question may also wait behind others that fail one by one, a second each.

None of this may be taken for a crowd. A model that answered *anybody* since it was asked is well, however late; a
refusal (queue full, deadline) says nothing; and silence counts only while other models of the same server answer.
"""

import re
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["well", "dead", "hung", "unknown"]

DEATHS = 2  # answers in a row that name a dead stub
FAILURES, FAILING_S = 2, 2.0  # looks that found failures and no success while a question waits, and since when it does
SILENT_S = 5.0  # without any answer, though others were answered
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0  # between two reloads of one version
CALM_S = 60.0  # well for so long: the next reload is a first one again
GIVEN_UP = 3  # reloads in a row that did not help
_DEAD_STUB = re.compile(r"stub process .*(not healthy|unhealthy)", re.IGNORECASE)


def names_a_dead_stub(error: str) -> bool:
    """Whether an error of Triton's says that it gave up on the stub."""
    return _DEAD_STUB.search(error) is not None


@dataclass(slots=True)
class Health:
    """What is known of one model version. Times are seconds of one monotonic clock."""

    answered: int = 0  # Triton's own count of successes, whoever asked
    progressed_at: float | None = None
    asked_at: float | None = None  # the canary question that is out
    deaths: int = 0
    failed: int = 0  # Triton's count of failures
    failures: int = 0  # looks that found more of them since the question was sent

    def looked(self, answered: int, failed: int, now: float) -> None:
        """A look at Triton's counters; a count that fell is that of a fresh instance."""
        if failed != self.failed:
            self.failed, self.failures = failed, self.failures + 1
        if answered != self.answered:
            self.answered, self.progressed_at, self.deaths, self.failures = answered, now, 0, 0

    def asked(self, now: float) -> None:
        """A canary question was sent."""
        self.asked_at, self.failures = now, 0

    def replied(self, error: str | None) -> None:
        """It came back."""
        self.asked_at = None
        if error is not None and names_a_dead_stub(error):
            self.deaths += 1

    def verdict(self, now: float, vouched: bool) -> Verdict:
        """`vouched`: another model of this server answered somebody since this one was asked."""
        if self.deaths >= DEATHS:
            return "dead"
        if self.asked_at is None:
            return "well" if self.deaths == 0 and self.progressed_at is not None else "unknown"
        if self.progressed_at is not None and self.progressed_at > self.asked_at:
            return "well"
        waits_s = now - self.asked_at
        if vouched and self.failures >= FAILURES and waits_s >= FAILING_S:
            return "dead"
        return "hung" if vouched and waits_s >= SILENT_S else "unknown"


@dataclass(slots=True)
class Reloads:
    """When a version may be loaded again."""

    in_a_row: int = 0
    last_at: float = 0.0

    def due(self, now: float) -> bool:
        """Whether its pause is over: none before the first, then doubling."""
        return self.in_a_row == 0 or now - self.last_at >= self.pause_s

    @property
    def pause_s(self) -> float:
        """After the last reload."""
        return float(min(FIRST_PAUSE_S * 2.0 ** (self.in_a_row - 1), LONGEST_PAUSE_S))

    @property
    def given_up(self) -> bool:
        """Reloads do not help: somebody has to end the server."""
        return self.in_a_row >= GIVEN_UP

    def reloaded(self, now: float) -> None:
        """It was loaded again, or that was tried."""
        self.in_a_row, self.last_at = self.in_a_row + 1, now

    def well(self, now: float) -> None:
        """It answers."""
        if now - self.last_at >= CALM_S:
            self.in_a_row = 0
