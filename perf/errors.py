"""Errors of the measurements.

PerfError      what is to be measured is not there or does not answer: exit code 2 and one line on stderr
"""


class PerfError(RuntimeError):
    """The message says what is missing and how to get it."""
