"""When things happened: rows by day and by hour of the day, the days that have none, and the days that look odd.

    odd: |rows - median| > 3 x max(1.4826 x MAD, sqrt(median))

1.4826 x MAD (the median absolute deviation) is the standard deviation of a normal distribution that some extreme days
cannot move (Iglewicz & Hoaglin, How to Detect and Handle Outliers, 1993); with the plain one, a single huge day hides
itself and every other. sqrt(median) is the deviation of a count whose rate never changes: no less can be told.
"""  # fmt: skip

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce

import numpy as np
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as fn

from training.adapters.canonical import EVENT_TYPES

DEVIATIONS = 3.0
MAD_TO_DEVIATION = 1.4826
HOUR = 3_600_000_000  # µs


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Rows of a table by day (those without any are not listed), by hour of the day [24], UTC, and by event type."""

    days: dict[date, int]
    hours: tuple[int, ...]
    types: dict[str, int]

    @property
    def empty_days(self) -> list[date]:
        """Days without a row between the first and the last."""
        if not self.days:
            return []
        first, last = min(self.days), max(self.days)
        every = (first + timedelta(days=n) for n in range((last - first).days))
        return [day for day in every if day not in self.days]

    @property
    def limits(self) -> tuple[float, float]:
        """Rows of a day that is not odd: from, to."""
        volume = np.array(list(self.days.values()), np.float64)
        median = float(np.median(volume))
        mad = float(np.median(np.abs(volume - median)))
        reach = DEVIATIONS * max(MAD_TO_DEVIATION * mad, median**0.5)
        return median - reach, median + reach

    @property
    def odd_days(self) -> list[date]:
        """Days with too many rows, or too few; the first and the last may be cut short."""
        if not self.days:
            return []
        lower, upper = self.limits
        cut = {min(self.days), max(self.days)}
        return sorted(day for day, n in self.days.items() if n > upper or (n < lower and day not in cut))


def activities(tables: Mapping[str, DataFrame]) -> dict[str, Activity]:
    """The activity of tables with a timestamp, in one job."""
    parts = [
        rows.select(fn.lit(name).alias("table"), _hour().alias("hour"), _event_type(rows).alias("type"))
        for name, rows in tables.items()
    ]
    types = [fn.count_if(fn.col("type") == kind).alias(kind) for kind in EVENT_TYPES]
    counted = reduce(DataFrame.union, parts).groupBy("table", "hour").agg(fn.count("*").alias("rows"), *types).collect()
    return {name: _activity([row for row in counted if row["table"] == name]) for name in tables}


def _hour() -> Column:
    """Hours since 1970, cheaper than a date of a calendar."""
    return fn.floor(fn.unix_micros("timestamp") / HOUR)


def _event_type(rows: DataFrame) -> Column:
    return fn.col("event_type") if "event_type" in rows.columns else fn.lit(None).cast("string")


def _activity(counted: list[Row]) -> Activity:
    days: dict[date, int] = {}
    hours = [0] * 24
    for row in counted:
        day = date(1970, 1, 1) + timedelta(hours=row["hour"])
        days[day] = days.get(day, 0) + row["rows"]
        hours[row["hour"] % 24] += row["rows"]
    types = {kind: sum(row[kind] for row in counted) for kind in EVENT_TYPES}
    return Activity(days=dict(sorted(days.items())), hours=tuple(hours), types=types)
