"""Rolling sums over days: one sort per key, every window a frame over it.

Rows are (key, day, measures…). A request is a row without measures that asks for the sums as of its day: what
happened on days D−w … D−1, never on D itself.
"""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as fn


def sums(name: str, days: int | None, key: str) -> Column:
    """Sum of a measure over the last `days` days before the row's, or over all before it; 0 where there is none."""
    return fn.coalesce(fn.sum(name).over(_frame(key, days)), fn.lit(0))


def latest(name: str, key: str) -> Column:
    """Largest value before the row's day; null where there is none."""
    return fn.max(name).over(_frame(key, None))


def timeline(requested: DataFrame, parts: Sequence[DataFrame], key: str, largest: Sequence[str] = ()) -> DataFrame:
    """Requests and daily measures as one row per (key, day): measures are added up, those in `largest` maximised.

    `requested` has key, day and `final`; the result keeps `final`, null on days nobody asked for.
    """
    rows = requested
    for part in parts:
        rows = rows.unionByName(part, allowMissingColumns=True)
    measures = [c for c in rows.columns if c not in (key, "day", "final")]
    totals = [(fn.max if name in largest else fn.sum)(name).alias(name) for name in measures]
    return rows.repartition(key).groupBy(key, "day").agg(fn.max("final").alias("final"), *totals)


def first_occurrences(actions: DataFrame, key: str, other: str, name: str) -> DataFrame:
    """Per key and day, how many of `other` were met for the first time: running sums of it are distinct counts."""
    first = actions.groupBy(key, other).agg(fn.min("day").alias("day"))
    return first.groupBy(key, "day").agg(fn.count("*").alias(name))


def _frame(key: str, days: int | None) -> Window:
    start = Window.unboundedPreceding if days is None else -days
    return Window.partitionBy(key).orderBy("day").rangeBetween(start, -1)
