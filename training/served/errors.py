"""CollectError    the log cannot be collected now: another collector is at work, Redis or the disk does not do"""

from typing import ClassVar

from training.errors import DataError


class CollectError(DataError):
    """Nothing is lost: what was not committed is still in Redis. The message says what is in the way."""

    exit_code: ClassVar[int] = 1
