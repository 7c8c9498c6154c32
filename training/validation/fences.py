"""Where a column of numbers ends and its outliers begin: Tukey's outer fences (Exploratory Data Analysis, 1977).

    fences = Q1 - 3 x IQR, Q3 + 3 x IQR

Where half of the values are equal the IQR is 0 and says nothing. Then the mean absolute deviation from the median
(MeanAD) takes its place, in the proportion in which the two stand in a normal distribution: IQR = 1.349 s, s = 1.2533
MeanAD (the fallback of Iglewicz & Hoaglin, How to Detect and Handle Outliers, 1993). It is read off a hundred
quantiles, so that the largest values, which may be the outliers, have no more weight than others.
"""  # fmt: skip

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from math import ceil, floor
from statistics import fmean

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as fn

REACH = 3.0
IQR_PER_DEVIATION = 1.349 * 1.2533
EVEN = tuple((n + 0.5) / 100 for n in range(100))
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0, *EVEN)
ACCURACY = 10_000  # an approximate quantile is off by at most 1/10,000 of the rows
BINS = 40
BELOW, ABOVE = -1, BINS

Key = tuple[str, str]  # table, column


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Extremes, quartiles and MeanAD of a column; `whole` where every value is a whole number."""

    smallest: float
    first: float
    median: float
    third: float
    largest: float
    deviation: float
    whole: bool

    @property
    def fences(self) -> tuple[float, float]:
        """What lies below the first or above the second is an outlier."""
        reach = REACH * ((self.third - self.first) or IQR_PER_DEVIATION * self.deviation)
        return self.first - reach, self.third + reach

    @property
    def grid(self) -> tuple[float, float, int]:
        """Start, width and number of the bins between the fences; whole numbers lie in the middle of theirs."""
        lower, upper = self.fences
        start, end = max(self.smallest, lower), min(self.largest, upper)
        if not self.whole:
            return start, (end - start) / BINS or 1.0, BINS
        values = floor(end) - ceil(start) + 1
        width = ceil(values / BINS)
        return ceil(start) - 0.5, float(width), ceil(values / width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A column of numbers as a histogram between its fences, rows by bin of the grid, and the rows beyond them."""

    spread: Spread
    bins: tuple[int, ...]
    below: int
    above: int

    @property
    def outliers(self) -> int:
        """Rows beyond the fences."""
        return self.below + self.above


def spreads(tables: Mapping[str, DataFrame], columns: Iterable[Key]) -> dict[Key, Spread]:
    """The spread of every column that holds a number, in one job."""
    value = fn.col("value")
    quantiles = fn.percentile_approx(value, list(QUANTILES), ACCURACY).alias("quantiles")
    whole = fn.bool_and(value == fn.floor(value)).alias("whole")
    values = {key: fn.col(key[1]).cast("double") for key in columns}
    return {key: _spread(row) for key, row in _grouped(tables, values, [], quantiles, whole)}


def _spread(row: Row) -> Spread:
    smallest, first, median, third, largest, *even = row["quantiles"]
    return Spread(
        smallest=smallest, first=first, median=median, third=third, largest=largest,
        deviation=fmean(abs(value - median) for value in even), whole=row["whole"],
    )  # fmt: skip


def distributions(tables: Mapping[str, DataFrame], found: Mapping[Key, Spread]) -> dict[Key, Distribution]:
    """The histograms of the columns whose spread is known, in one job."""
    bins: dict[Key, dict[int, int]] = {key: {} for key in found}
    values = {key: bin_of(fn.col(key[1]).cast("double"), spread) for key, spread in found.items()}
    for key, row in _grouped(tables, values, ["value"], fn.count("*").alias("rows")):
        bins[key][row["value"]] = row["rows"]
    return {key: _distribution(spread, bins[key]) for key, spread in sorted(found.items())}


def _distribution(spread: Spread, bins: Mapping[int, int]) -> Distribution:
    counts = tuple(bins.get(n, 0) for n in range(spread.grid[2]))
    return Distribution(spread=spread, bins=counts, below=bins.get(BELOW, 0), above=bins.get(ABOVE, 0))


def _grouped(
    tables: Mapping[str, DataFrame], values: Mapping[Key, Column], keys: list[str], *aggregates: Column
) -> Iterator[tuple[Key, Row]]:
    """Aggregates of `value` for each column, each table read once; nulls are left out."""
    parts = []
    for table, rows in tables.items():
        pairs = [part for (name, column), value in values.items() if name == table for part in (fn.lit(column), value)]
        stacked = fn.stack(fn.lit(len(pairs) // 2), *pairs).alias("column", "value")
        parts += [rows.select(fn.lit(table).alias("table"), stacked).filter("value is not null")] if pairs else []
    if parts:
        counted = reduce(DataFrame.union, parts).groupBy("table", "column", *keys).agg(*aggregates)
        yield from (((row["table"], row["column"]), row) for row in counted.collect())


def bin_of(value: Column, found: Spread) -> Column:
    """The bin of the grid a value lies in; BELOW and ABOVE are beyond the fences."""
    (lower, upper), (start, width, bins) = found.fences, found.grid
    inside = fn.least(fn.floor((value - start) / width), fn.lit(bins - 1))
    place = fn.when(value < lower, BELOW).when(value > upper, ABOVE).otherwise(inside)
    return fn.when(value.isNotNull(), place)
