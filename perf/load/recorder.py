"""What happened to each request, kept as numbers in growing arrays."""

from array import array
from time import monotonic, process_time

import numpy as np

from perf.load.answer import OK, Answer
from perf.load.outcome import Outcome

UNKNOWN = float("nan")


class Recorder:
    """Times are `time.monotonic`. A request is known by the number `begin` gave it."""

    def __init__(self) -> None:
        self._intended, self._started, self._sent, self._done = (array("d") for _ in range(4))
        self._user, self._answer = array("q"), array("h")
        self._answers: dict[Answer, int] = {}
        self._cpu = (process_time(), 0)

    def __len__(self) -> int:
        return len(self._intended)

    def begin(self, user: int, intended: float) -> int:
        """A request for `user` that was due at `intended` is taken up now."""
        for values, value in ((self._intended, intended), (self._started, monotonic())):
            values.append(value)
        self._sent.append(UNKNOWN)
        self._done.append(UNKNOWN)
        self._user.append(user)
        self._answer.append(0)
        return len(self._intended) - 1

    def user_of(self, number: int) -> int:
        """Whom the request was for."""
        return self._user[number]

    def sent(self, number: int, at: float) -> None:
        """It was written to a connection."""
        self._sent[number] = at

    def done(self, number: int, at: float, answer: Answer) -> None:
        """It was answered, or given up."""
        self._done[number] = at
        self._answer[number] = self._answers.setdefault(answer, len(self._answers))

    def warm(self) -> None:
        """From now on the generator's own CPU time counts."""
        self._cpu = (process_time(), len(self))

    def outcome(self, zero: float, seconds: float, waited: int) -> Outcome:
        """Everything due from `zero` on, by a window of `seconds`."""
        cpu_s, counted = process_time() - self._cpu[0], len(self) - self._cpu[1]
        intended, started, sent, done = (
            np.frombuffer(times) - zero for times in (self._intended, self._started, self._sent, self._done)
        )
        answer, answers = np.array(self._answer), tuple(self._answers)
        in_window = (done >= 0) & (done < seconds)
        ok = np.array([one.status == OK for one in answers], bool)[answer]
        kept = intended >= 0
        return Outcome(
            seconds=seconds, intended_s=intended[kept], started_s=started[kept], sent_s=sent[kept], done_s=done[kept],
            user=np.array(self._user)[kept], answer=answer[kept], answers=answers,
            answered_per_second=float((ok & in_window).sum()) / seconds, waited=waited,
            generator_cpu_ms=1000 * cpu_s / max(counted, 1), zero=zero,
        )  # fmt: skip
