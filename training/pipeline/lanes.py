"""Two integer sums in one long: half the columns to shuffle, sort and add where a table of sums is wide.

low + high × 2³² adds up (and subtracts) lane by lane as long as each sum stays inside ±2³¹, which all of one user's
actions do by far.
"""

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as fn

LANE = 1 << 32


def lane_names(name: str, count: int) -> list[str]:
    """Columns that hold `count` sums, two in each."""
    return [f"{name}_{n}" for n in range(0, count, 2)]


def by_code(code: str, codes: int, value: str) -> list[Column]:
    """Values to add up so that lane n holds the sum over rows whose code is n; nothing for other rows."""
    return [
        fn.when(fn.col(code) == low, fn.col(value)).when(fn.col(code) == low + 1, fn.col(value) * fn.lit(LANE))
        for low in range(0, codes, 2)
    ]


def by_place(values: Sequence[Column]) -> list[Column]:
    """Values to add up so that lane n holds the sum of the n-th value."""
    pairs = [(values[n], values[n + 1] if n + 1 < len(values) else fn.lit(0)) for n in range(0, len(values), 2)]
    return [low.cast("long") + high * fn.lit(LANE) for low, high in pairs]


def lane(packed: Sequence[Column], n: int) -> Column:
    """The n-th sum."""
    both = packed[n // 2]
    low = fn.shiftright(fn.shiftleft(both, 32), 32)
    return low if n % 2 == 0 else fn.shiftright(both - low, 32)


def lanes(packed: Sequence[Column], count: int) -> Column:
    """The first `count` sums as an array."""
    return fn.array(*[lane(packed, n) for n in range(count)])
