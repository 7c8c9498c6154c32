"""Errors of a daily run, by what the caller does about them.

DataError
├── BadDayError    the day's data is refused; what served before is back in its place: exit code 2
├── GateError      the challenger is refused; the champion stays: exit code 4
└── StepError      a step failed, another run goes on there: exit code 1
"""  # fmt: skip

from typing import ClassVar

from training.errors import DataError


class BadDayError(DataError):
    """The day's data must not be learnt from: the message names the day, the rows and what was expected."""


class GateError(DataError):
    """The challenger is no better: the message names the figures, both values and the tolerance."""

    exit_code: ClassVar[int] = 4


class StepError(DataError):
    """A step failed: the message names it and the last line it said."""

    exit_code: ClassVar[int] = 1
