"""User snapshots: the features of a user as of a day."""

from collections.abc import Iterator

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as fn

from feature_repo.schema import BRANDS, CATEGORIES, CVR_PRIOR, GENDERS, PRICE_BANDS, TIERS
from training.adapters.source import Source
from training.pipeline.actions import MONEY, count_of
from training.pipeline.rolling import first_occurrences, latest, sums, timeline
from training.pipeline.snapshots import age_days, click_rate, code_in, country_code, rate, stamped

KEY = "user_id"
LONGEST_ABSENCE = 365.0
AFFINITIES = {
    "category_code": ("user_category_affinity", CATEGORIES),
    "brand_code": ("user_brand_affinity", BRANDS),
    "price_band": ("user_price_affinity", PRICE_BANDS),
}


def user_snapshots(
    source: Source, requested: DataFrame, actions: DataFrame, impressions: DataFrame, users: DataFrame
) -> DataFrame:
    """Snapshots of the requested (user_id, day, final): [user_id, timestamps, one column per user feature]."""
    shown = impressions.groupBy(KEY, "day").agg(fn.count("*").alias("impressions"))
    parts = (_daily(actions), shown, first_occurrences(actions, KEY, "item_id", "new_items"))
    days = timeline(requested, parts, KEY, largest=("last_event",))
    rolled = days.select(KEY, "day", "final", *_windows()).filter("final is not null")
    return stamped(rolled.join(users, KEY), KEY, source.as_of, _features(source))


def _daily(actions: DataFrame) -> DataFrame:
    """Measures per user and day, the weights by code among them."""
    purchases = fn.when(fn.col("event_type") == "purchase", fn.col("money") * fn.col("quantity"))
    return actions.groupBy(KEY, "day").agg(
        fn.count("*").alias("events"),
        fn.lit(1).alias("active"),
        count_of("view").alias("views"),
        count_of("click").alias("clicks"),
        count_of("add_to_cart").alias("carts"),
        count_of("favorite").alias("favorites"),
        count_of("purchase").alias("purchases"),
        fn.sum("money").alias("money"),
        fn.count("money").alias("priced"),
        fn.sum(purchases).alias("spend"),
        fn.max("timestamp").alias("last_event"),
        fn.sum("weight").alias("weight"),
        *(fn.sum(fn.when(fn.col(code) == n, fn.col("weight"))).alias(name) for code, n, name in _codes()),
    )


def _codes() -> Iterator[tuple[str, int, str]]:
    return ((code, n, f"{code}_{n}") for code, (_, width) in AFFINITIES.items() for n in range(width))


def _windows() -> list[Column]:
    frames = {
        "events": 7, "impressions": 30, "views": 30, "clicks": 30, "active": 30, "carts": 90, "favorites": 90,
        "purchases": 90, "money": 90, "priced": 90, "spend": 90, "weight": 90, "new_items": None,
    }  # fmt: skip
    simple = [sums(name, days, KEY).alias(name) for name, days in frames.items()]
    by_code = [sums(name, 90, KEY).alias(name) for _, _, name in _codes()]
    others = [sums("clicks", 90, KEY).alias("clicks_90d"), latest("last_event", KEY).alias("last_event")]
    return [*simple, *others, *by_code]


def _features(source: Source) -> dict[str, Column]:
    clicks = fn.col("clicks")
    return {
        "user_age": fn.coalesce("age", fn.lit(0)),
        "user_gender": code_in("gender", GENDERS),
        "user_tier": code_in("tier", TIERS),
        "user_country": country_code("country"),
        "user_days_since_signup": fn.coalesce(age_days("signup_at"), fn.lit(0.0)),
        "user_impressions_30d": fn.col("impressions"),
        "user_events_7d": fn.col("events"),
        "user_views_30d": fn.col("views"),
        "user_clicks_30d": clicks,
        "user_carts_90d": fn.col("carts"),
        "user_favorites_90d": fn.col("favorites"),
        "user_purchases_90d": fn.col("purchases"),
        "user_ctr_30d": click_rate(clicks, fn.col("impressions"), source),
        "user_cvr_90d": rate(fn.col("purchases"), fn.col("clicks_90d"), CVR_PRIOR),
        "user_days_since_event": fn.least(
            fn.coalesce(age_days("last_event"), fn.lit(LONGEST_ABSENCE)), fn.lit(LONGEST_ABSENCE)
        ),
        "user_mean_price_90d": fn.coalesce(fn.try_divide(fn.col("money"), fn.col("priced")) / MONEY, fn.lit(0.0)),
        "user_spend_90d": fn.col("spend") / MONEY,
        "user_unique_items": fn.col("new_items"),
        "user_active_days_30d": fn.col("active"),
        **{name: _affinity(code, width) for code, (name, width) in AFFINITIES.items()},
    }


def _affinity(code: str, width: int) -> Column:
    return fn.array(*[(fn.col(f"{code}_{n}") / (fn.col("weight") + 1)).cast("float") for n in range(width)])
