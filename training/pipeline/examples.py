"""Labelled rows for the ranker and positives for retrieval.

A source with impressions: every item shown is an example, labelled by the events that carry its request id.
A source without: a group is a user's day, its positives are the items acted on, and each brings `NEGATIVES` items
drawn uniformly from those that existed. Then `clicked` means engaged, and `sampling_rate` is the expected share of
the items not acted on that was drawn, the same for every row of a group.
"""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as fn

from feature_repo.served import ENGAGED
from training.adapters.source import Source
from training.pipeline.actions import CONTEXT
from training.pipeline.clock import available_at, day_of, served_day
from training.pipeline.depth import with_depth
from training.pipeline.recent import with_recent
from training.pipeline.split import boundaries, split_of

NEGATIVES = 9
SAID = tuple(name for name in CONTEXT if name != "session_id")  # of the request, kept for its context features
COLUMNS = ("request_id", "user_id", "item_id", "position", "timestamp", *SAID, "placement", "session_depth", "grade",
           "clicked", "purchased", "split", "user_snapshot", "item_snapshot", "sampling_rate",
           "recent")  # fmt: skip


def examples(
    source: Source, actions: DataFrame, days: DataFrame, impressions: DataFrame, items: DataFrame, seed: int
) -> DataFrame:
    """One row per (group, item) with `COLUMNS`."""
    if source.has_impressions:
        rows = _windowed(source, _shown(actions, impressions))
    else:
        positives = _engaged(days, items)
        rows = _windowed(source, _with_rate(positives.unionByName(_drawn(positives, items, seed))))
    return with_recent(with_depth(rows, actions), actions).select(*COLUMNS)


def pairs(source: Source, days: DataFrame) -> DataFrame:
    """Distinct (user, item, day) with an event, at the moment of the first: ids, grade, split, snapshots."""
    rows = days.select("user_id", "item_id", "first.timestamp", "grade")
    return _windowed(source, rows)


def _windowed(source: Source, rows: DataFrame) -> DataFrame:
    """Rows inside the windows, with split and the timestamps of the snapshots that serve them."""
    served = available_at(served_day("timestamp"))
    rows = rows.withColumn("split", split_of("timestamp", boundaries(source))).filter("split is not null")
    return rows.withColumns({"user_snapshot": served, "item_snapshot": served})


def _shown(actions: DataFrame, impressions: DataFrame) -> DataFrame:
    labels = _labels(actions.filter("request_id is not null"), "request_id", "user_id", "item_id")
    rows = impressions.join(labels, ["request_id", "user_id", "item_id"], "left")
    return rows.withColumns({
        **{name: fn.coalesce(name, fn.lit(0)) for name in ("grade", "clicked", "purchased")},
        "position": fn.coalesce("position", fn.lit(0)),
        "sampling_rate": fn.lit(1.0),
    })  # fmt: skip


def _labels(actions: DataFrame, *keys: str) -> DataFrame:
    clicked = fn.col("event_type").isin(*ENGAGED)
    return actions.groupBy(*keys).agg(
        fn.max("grade").alias("grade"),
        fn.max(clicked.cast("int")).alias("clicked"),
        fn.max((fn.col("event_type") == "purchase").cast("int")).alias("purchased"),
    )


def _engaged(days: DataFrame, items: DataFrame) -> DataFrame:
    """The positives of each (user, day) at the moment of their first event, with the size of the catalogue."""
    rows = days.select("user_id", "item_id", fn.col("day").alias("date"), "first.*", "grade", "purchased")
    group = fn.concat_ws("-", "user_id", fn.date_from_unix_date("date"))
    rows = rows.withColumns({
        "request_id": group, "clicked": fn.lit(1), "position": fn.lit(0), "placement": fn.lit(None).cast("string"),
    })  # fmt: skip
    return rows.join(fn.broadcast(_catalogue_sizes(items, rows.select("date"))), "date").drop("date")


def _catalogue_sizes(items: DataFrame, dates: DataFrame) -> DataFrame:
    """How many items exist by the end of each date: [date, total]."""
    births = items.groupBy(day_of("born").alias("date")).agg(fn.count("*").alias("births"))
    asked = births.unionByName(dates.distinct(), allowMissingColumns=True)
    days = asked.groupBy("date").agg(fn.sum("births").alias("births"))
    born = fn.coalesce(fn.sum("births").over(Window.orderBy("date")), fn.lit(0))
    return days.select("date", fn.greatest(born, fn.lit(1)).alias("total"))


def _drawn(positives: DataFrame, items: DataFrame, seed: int) -> DataFrame:
    """Up to `NEGATIVES` items per positive, uniform over those created before it and not acted on in its group."""
    by_age = fn.row_number().over(Window.orderBy("born", "item_id")) - 1
    catalogue = items.select("item_id", "born", by_age.cast("long").alias("number"))
    slots = positives.withColumn("draw", fn.explode(fn.sequence(fn.lit(1), fn.lit(NEGATIVES))))
    number = fn.pmod(fn.xxhash64(fn.lit(seed), "request_id", "item_id", "draw"), fn.col("total"))
    drawn = slots.withColumn("number", number).drop("item_id").join(catalogue, "number").filter("born <= timestamp")
    unseen = drawn.join(positives.select("request_id", "item_id"), ["request_id", "item_id"], "left_anti")
    none = {name: fn.lit(0) for name in ("grade", "clicked", "purchased")}
    return _once(unseen.withColumns(none), positives.columns)


def _once(rows: DataFrame, columns: list[str]) -> DataFrame:
    """The earliest of the rows with the same group and item."""
    rest = [name for name in columns if name not in ("request_id", "item_id", "timestamp")]
    earliest = fn.min(fn.struct("timestamp", *rest)).alias("row")
    return rows.groupBy("request_id", "item_id").agg(earliest).select("request_id", "item_id", "row.*").select(*columns)


def _with_rate(rows: DataFrame) -> DataFrame:
    """Chance that an item not acted on is among the group's draws with replacement: 1 − (1 − 1/total)^draws."""
    draws = fn.sum("clicked").over(Window.partitionBy("request_id")) * NEGATIVES
    return rows.withColumn("sampling_rate", 1 - fn.pow(1 - 1 / fn.col("total"), draws))
