"""Errors of the offline stages.

DataError      the input cannot be used: exit code 2 and one line on stderr
BusyError      somebody else writes what this would write: exit code 1 and one line
"""

from typing import ClassVar


class DataError(ValueError):
    """Bad input data. The message names the file, the column where there is one, and the number of rows."""

    exit_code: ClassVar[int] = 2


class BusyError(Exception):
    """Another run is at work. The message names its process."""

    exit_code: ClassVar[int] = 1
