"""What looks odd in clean events: days of unusual volume and users that act like machines. Counted, not removed."""

from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as fn

BOT_EVENTS_PER_DAY = 1000
DEVIATIONS = 3.0


def anomalies(events: DataFrame) -> dict[str, Any]:
    """Days beyond 3 standard deviations of the daily volume, and users above 1000 events on a day."""
    daily = events.groupBy(fn.to_date("timestamp").alias("day"), "user_id").count().persist()
    volume = daily.groupBy("day").agg(fn.sum("count").alias("events"))
    scale = volume.agg(fn.avg("events").alias("mean"), fn.coalesce(fn.stddev_pop("events"), fn.lit(0.0)).alias("sd"))
    odd = volume.crossJoin(scale).filter(fn.abs(fn.col("events") - fn.col("mean")) > DEVIATIONS * fn.col("sd"))
    days = [str(row["day"]) for row in odd.orderBy("day").limit(50).collect()]
    bots = daily.filter(fn.col("count") > BOT_EVENTS_PER_DAY).select("user_id").distinct().count()
    daily.unpersist()
    return {"odd_days": days, "bot_users": bots}
