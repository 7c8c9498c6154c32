"""Item snapshots: the features of an item as of a day."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as fn

from feature_repo.groups.item import LONGEST_QUIET
from feature_repo.schema import CART_PRIOR, CVR_PRIOR, DAYPARTS, FAVORITE_PRIOR
from training.adapters.source import Source
from training.pipeline.actions import MONEY, count_of, spending, weekend
from training.pipeline.rolling import first_days, rolled, timeline
from training.pipeline.snapshots import age_days, click_rate, rate, recency, share, stamped

KEY = "item_id"
DAYPART_HOURS = 24 // len(DAYPARTS)
FRAMES: dict[str, tuple[int | None, ...]] = {
    "impressions": (1, 7, 30), "positions": (30,), "events": (1, 7, 30, 90, None), "views": (7, 30, 90),
    "clicks": (1, 7, 30, 90), "carts": (7, 30), "favorites": (30,), "purchases": (7, 30, 90), "revenue": (30,),
    "new_users": (30, None), "users": (7, 30), "mobile": (90,), "weekend": (90,),
    **{f"daypart_{n}": (90,) for n in range(len(DAYPARTS))},
}  # fmt: skip


def item_snapshots(
    source: Source, requested: DataFrame, actions: DataFrame, days: DataFrame, impressions: DataFrame, items: DataFrame
) -> DataFrame:
    """Snapshots of the requested (item_id, day, final): [item_id, timestamps, one column per item feature]."""
    shown = impressions.groupBy(KEY, "day").agg(
        fn.count("*").alias("impressions"), fn.sum("position").alias("positions")
    )
    acting = days.groupBy(KEY, "day").agg(fn.count("*").alias("users"))
    parts = (_daily(actions), shown, acting, first_days(days, KEY, "user_id", "new_users"))
    table = timeline(requested, parts, KEY, ("last_event",))
    sums = rolled(table, KEY, FRAMES, {"last_event": None})
    return stamped(sums.join(items, KEY), KEY, source.as_of, _features(source))


def _daily(actions: DataFrame) -> DataFrame:
    part = (fn.hour("timestamp") / DAYPART_HOURS).cast("int")
    return actions.withColumn("part", part).groupBy(KEY, "day").agg(
        fn.count("*").alias("events"),
        count_of("view").alias("views"),
        count_of("click").alias("clicks"),
        count_of("add_to_cart").alias("carts"),
        count_of("favorite").alias("favorites"),
        count_of("purchase").alias("purchases"),
        spending().alias("revenue"),
        fn.sum((fn.col("device") == "mobile").cast("int")).alias("mobile"),
        weekend().alias("weekend"),
        fn.max("timestamp").alias("last_event"),
        *(fn.sum((fn.col("part") == n).cast("int")).alias(f"daypart_{n}") for n in range(len(DAYPARTS))),
    )  # fmt: skip


def _features(source: Source) -> dict[str, Column]:
    dayparts = [share(f"daypart_{n}_90", "events_90").cast("float") for n in range(len(DAYPARTS))]
    return {
        **_said(), **_counts(), **_rates(source), "item_daypart_share": fn.array(*dayparts),
        "item_text": fn.col("item_text"),
    }  # fmt: skip


def _said() -> dict[str, Column]:
    image = fn.col("image_url").isNotNull() | fn.col("image_vector").isNotNull()
    return {
        "item_category": fn.col("category_code"),
        "item_brand": fn.col("brand_code"),
        "item_price_band": fn.col("price_band"),
        "item_price": fn.coalesce("price", fn.lit(0.0)),
        "item_price_in_category": fn.coalesce(fn.try_divide("price", "category_price"), fn.lit(1.0)),
        "item_rating": fn.coalesce("rating", fn.lit(0.0)),
        "item_review_count": fn.coalesce("review_count", fn.lit(0)),
        "item_days_since_created": fn.coalesce(age_days("created_at"), fn.lit(0.0)),
        "item_tags": fn.coalesce(fn.array_size("tags"), fn.lit(0)),
        "item_title_words": fn.coalesce(fn.size(fn.split(fn.trim("title"), r"\s+")), fn.lit(0)),
        "item_has_image": image.cast("int"),
        "item_regions": fn.coalesce(fn.array_size("regions"), fn.lit(0)),
    }


def _counts() -> dict[str, Column]:
    def plain(*names: str) -> dict[str, Column]:
        return {f"item_{name}d": fn.col(name) for name in names}

    return {
        **plain("impressions_1", "impressions_7", "impressions_30"),
        "item_mean_position_30d": share("positions_30", "impressions_30"),
        **plain("events_1", "events_7", "events_30", "events_90", "views_7", "views_30", "views_90"),
        **plain("clicks_1", "clicks_7", "clicks_30", "clicks_90", "carts_7", "carts_30", "favorites_30"),
        **plain("purchases_7", "purchases_30", "purchases_90"),
        "item_revenue_30d": fn.col("revenue_30") / MONEY,
        "item_unique_users": fn.col("new_users_ever"),
        "item_user_days_7d": fn.col("users_7"),
        "item_user_days_30d": fn.col("users_30"),
        "item_days_since_event": recency("last_event", LONGEST_QUIET),
    }


def _rates(source: Source) -> dict[str, Column]:
    clicks = fn.col("clicks_30")
    return {
        "item_ctr_7d": click_rate(fn.col("clicks_7"), fn.col("impressions_7"), source),
        "item_ctr_30d": click_rate(clicks, fn.col("impressions_30"), source),
        "item_cvr_30d": rate(fn.col("purchases_30"), clicks, CVR_PRIOR),
        "item_cvr_90d": rate(fn.col("purchases_90"), fn.col("clicks_90"), CVR_PRIOR),
        "item_cart_rate_30d": rate(fn.col("carts_30"), clicks, CART_PRIOR),
        "item_favorite_rate_30d": rate(fn.col("favorites_30"), clicks, FAVORITE_PRIOR),
        "item_trending": fn.col("events_30") / (fn.col("events_ever") + 1),
        "item_momentum": fn.col("events_7") / (fn.col("events_30") + 1),
        "item_new_user_share": fn.col("new_users_30") / (fn.col("users_30") + 1),
        "item_mobile_share_90d": share("mobile_90", "events_90"),
        "item_weekend_share_90d": share("weekend_90", "events_90"),
    }
