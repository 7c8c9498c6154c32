"""Rolling sums over days: one sort per key, and every window a difference of two running sums.

Rows are (key, day, measures…). A request is a row without measures that asks for the sums as of its day: what
happened on days D−w … D−1, never on D itself. A running sum is one addition a row, whatever the window's length;
a sliding frame would add up the whole window again for each row. Measures are integers, so differences are exact.
"""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as fn

Frames = Mapping[str, Sequence[int | None]]


def timeline(requested: DataFrame, parts: Sequence[DataFrame], key: str, maximised: Sequence[str] = ()) -> DataFrame:
    """Requests and daily measures as one row per (key, day): measures are added up, `maximised` ones are not.

    `requested` has key, day and `final`; the result keeps `final`, null on days nobody asked for.
    """
    rows = requested
    for part in parts:
        rows = rows.unionByName(part, allowMissingColumns=True)
    measures = [c for c in rows.columns if c not in (key, "day", "final")]
    totals = [(fn.max if name in maximised else fn.sum)(name).alias(name) for name in measures]
    return rows.repartition(key).groupBy(key, "day").agg(fn.max("final").alias("final"), *totals)


def rolled(table: DataFrame, key: str, frames: Frames, largest: Mapping[str, int | None]) -> DataFrame:
    """The requested rows of a timeline: [key, day, final, `name_<days>` sums …, `name` of the largest values …].

    `frames` gives each measure's windows in days, None for all before (`name_ever`); a sum is 0 where there is
    nothing. `largest` gives the one window of a maximised measure; null where there is nothing.
    """
    running = {(name, end): _until(name, end, key) for name, windows in frames.items() for end in _ends(windows)}
    maxima = [fn.max(name).over(_frame(key, days)).alias(name) for name, days in largest.items()]
    sums = [column.alias(f"{name}_until_{end}") for (name, end), column in running.items()]
    asked = table.select(key, "day", "final", *sums, *maxima).filter("final is not null")
    windows = [_window(name, days) for name, windows in frames.items() for days in windows]
    return asked.select(key, "day", "final", *windows, *largest)


def first_days(days: DataFrame, key: str, other: str, name: str) -> DataFrame:
    """Per key and day, how many of `other` were met for the first time: running sums of it are distinct counts."""
    first = days.groupBy(key, other).agg(fn.min("day").alias("day"))
    return first.groupBy(key, "day").agg(fn.count("*").alias(name))


def _ends(windows: Sequence[int | None]) -> list[int]:
    """How many days before the row's a running sum must end for these windows: at 1, and where each one starts."""
    return sorted({1, *(days + 1 for days in windows if days is not None)})


def _until(name: str, end: int, key: str) -> Column:
    everything = Window.partitionBy(key).orderBy("day").rangeBetween(Window.unboundedPreceding, -end)
    return fn.coalesce(fn.sum(name).over(everything), fn.lit(0))


def _window(name: str, days: int | None) -> Column:
    total = fn.col(f"{name}_until_1")
    return (total if days is None else total - fn.col(f"{name}_until_{days + 1}")).alias(f"{name}_{days or 'ever'}")


def _frame(key: str, days: int | None) -> Window:
    start = Window.unboundedPreceding if days is None else -days
    return Window.partitionBy(key).orderBy("day").rangeBetween(start, -1)
