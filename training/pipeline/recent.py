"""What a row's user did since his snapshot: the actions that `feature_repo.recent.merged` puts before its history."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as fn

from feature_repo.recent import MOST
from feature_repo.served import EVENT_TYPES
from training.pipeline.actions import lookup
from training.pipeline.clock import day_of, served_day

KINDS = {kind: place for place, kind in enumerate(EVENT_TYPES)}
MOMENT = ("user_id", "timestamp")


def with_recent(rows: DataFrame, actions: DataFrame) -> DataFrame:
    """Rows with `recent`: the user's last `MOST` actions, latest first, from the start of the snapshot's day on and
    strictly before the row's moment; structs of `at` (unix µs), `key` and `kind` (place in EVENT_TYPES)."""
    asked = rows.select(*MOMENT).distinct()
    asked = asked.withColumn("day", fn.explode(fn.sequence(served_day("timestamp"), day_of("timestamp"))))
    before = fn.filter("actions", lambda action: action["at"] < fn.unix_micros("timestamp"))
    found = asked.join(_by_day(actions), ["user_id", "day"]).select(*MOMENT, before.alias("actions"))
    both = found.groupBy(*MOMENT).agg(fn.flatten(fn.collect_list("actions")).alias("actions"))
    latest = both.select(*MOMENT, fn.slice(fn.reverse(fn.array_sort("actions")), 1, MOST).alias("recent"))
    return rows.join(latest, list(MOMENT), "left")


def _by_day(actions: DataFrame) -> DataFrame:
    action = fn.struct(
        fn.unix_micros("timestamp").alias("at"),
        fn.col("item_key").alias("key"),
        lookup("event_type", KINDS).alias("kind"),
    )
    return actions.groupBy("user_id", "day").agg(fn.collect_list(action).alias("actions"))
