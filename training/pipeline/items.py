"""Item snapshots: the features of an item as of a day."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as fn

from feature_repo.schema import CVR_PRIOR
from training.adapters.source import Source
from training.pipeline.actions import count_of
from training.pipeline.rolling import first_occurrences, sums, timeline
from training.pipeline.snapshots import age_days, click_rate, rate, stamped

KEY = "item_id"


def item_snapshots(
    source: Source, requested: DataFrame, actions: DataFrame, impressions: DataFrame, items: DataFrame
) -> DataFrame:
    """Snapshots of the requested (item_id, day, final): [item_id, timestamps, one column per item feature]."""
    shown = impressions.groupBy(KEY, "day").agg(fn.count("*").alias("impressions"))
    parts = (_daily(actions), shown, first_occurrences(actions, KEY, "user_id", "new_users"))
    days = timeline(requested, parts, KEY)
    rolled = days.select(KEY, "day", "final", *_windows()).filter("final is not null")
    return stamped(rolled.join(items, KEY), KEY, source.as_of, _features(source))


def _daily(actions: DataFrame) -> DataFrame:
    return actions.groupBy(KEY, "day").agg(
        fn.count("*").alias("events"),
        count_of("view").alias("views"),
        count_of("click").alias("clicks"),
        count_of("purchase").alias("purchases"),
    )


def _windows() -> list[Column]:
    frames: dict[str, tuple[str, int | None]] = {
        "impressions": ("impressions", 30), "views": ("views", 30), "clicks_7d": ("clicks", 7),
        "clicks": ("clicks", 30), "purchases": ("purchases", 30), "events_1d": ("events", 1),
        "events": ("events", 30), "events_ever": ("events", None), "new_users": ("new_users", None),
    }  # fmt: skip
    return [sums(measure, days, KEY).alias(name) for name, (measure, days) in frames.items()]


def _features(source: Source) -> dict[str, Column]:
    return {
        "item_category": fn.col("category_code"),
        "item_brand": fn.col("brand_code"),
        "item_price_band": fn.col("price_band"),
        "item_price": fn.coalesce("price", fn.lit(0.0)),
        "item_rating": fn.coalesce("rating", fn.lit(0.0)),
        "item_review_count": fn.coalesce("review_count", fn.lit(0)),
        "item_days_since_created": fn.coalesce(age_days("created_at"), fn.lit(0.0)),
        "item_impressions_30d": fn.col("impressions"),
        "item_views_30d": fn.col("views"),
        "item_clicks_7d": fn.col("clicks_7d"),
        "item_clicks_30d": fn.col("clicks"),
        "item_purchases_30d": fn.col("purchases"),
        "item_events_1d": fn.col("events_1d"),
        "item_events_30d": fn.col("events"),
        "item_ctr_30d": click_rate(fn.col("clicks"), fn.col("impressions"), source),
        "item_cvr_30d": rate(fn.col("purchases"), fn.col("clicks"), CVR_PRIOR),
        "item_unique_users": fn.col("new_users"),
        "item_trending": fn.col("events") / (fn.col("events_ever") + 1),
    }
