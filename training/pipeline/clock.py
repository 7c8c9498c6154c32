"""Days and availability, as Spark expressions and as plain values.

Features are materialised daily at 00:00 UTC and can be served `DELAY` later: snapshot D holds what happened before
D 00:00 and serves every moment t with D + DELAY < t, until the next one does. A day is an integer, days since 1970.
"""

from datetime import UTC, datetime, timedelta

from pyspark.sql import Column
from pyspark.sql import functions as fn

DELAY = timedelta(hours=1)
DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)
DAY_SECONDS = 86_400
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def day_of(timestamp: str) -> Column:
    """The day a moment falls on."""
    return fn.unix_date(fn.to_date(timestamp))


def served_day(timestamp: str) -> Column:
    """The snapshot that serves a moment."""
    shifted = fn.timestamp_micros(fn.unix_micros(timestamp) - fn.lit(DELAY // INSTANT + 1))
    return fn.unix_date(fn.to_date(shifted))


def available_at(day: Column) -> Column:
    """When a snapshot can first be served."""
    return fn.timestamp_seconds(day.cast("long") * DAY_SECONDS + int(DELAY.total_seconds()))


def start_of(day: Column) -> Column:
    """The moment a snapshot is computed at."""
    return fn.timestamp_seconds(day.cast("long") * DAY_SECONDS)


def served_day_at(moment: datetime) -> int:
    """`served_day` of one moment."""
    return (moment - DELAY - INSTANT - EPOCH) // DAY


def snapshot_at(moment: datetime) -> datetime:
    """The event timestamp of the snapshot that serves a moment."""
    return EPOCH + served_day_at(moment) * DAY + DELAY


def final_day(as_of: datetime) -> int:
    """The day of the snapshot that holds everything through as_of: the next midnight, or as_of where it is one."""
    return -((EPOCH - as_of) // DAY)


def midnight_before(moment: datetime) -> datetime:
    """The start of the day a moment falls on."""
    return EPOCH + (moment - EPOCH) // DAY * DAY
