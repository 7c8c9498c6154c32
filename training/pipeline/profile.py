"""User features from a user's sums by window: `x_7` is the sum of x over 7 days, `x_ever` over all."""

from pyspark.sql import Column
from pyspark.sql import functions as fn

from feature_repo.groups.user import LONGEST_ABSENCE, LONGEST_TENURE
from feature_repo.schema import (
    CART_PRIOR,
    CVR_PRIOR,
    DAYPARTS,
    DEVICES,
    FAVORITE_PRIOR,
    GENDERS,
    REDUCED_WIDTH,
    SEGMENTS,
    TIERS,
)
from training.adapters.source import Source
from training.pipeline.actions import MONEY, TEXT
from training.pipeline.lanes import lane_names, lanes
from training.pipeline.snapshots import age_days, click_rate, code_in, country_code, language_code, rate, recency, share

LOYAL = 3  # purchases in 90 days


def user_features(source: Source) -> dict[str, Column]:
    """One expression for each user feature, in the schema's order."""
    return {**_profile(), **_counts(), **_rates(source), **_recency_and_money(), **_taste()}


def _profile() -> dict[str, Column]:
    return {
        "user_age": fn.coalesce("age", fn.lit(0)),
        "user_gender": code_in("gender", GENDERS),
        "user_tier": code_in("tier", TIERS),
        "user_country": country_code("country"),
        "user_language": language_code("language"),
        "user_days_since_signup": fn.least(fn.coalesce(age_days("signup_at"), fn.lit(0.0)), fn.lit(LONGEST_TENURE)),
    }


def _counts() -> dict[str, Column]:
    plain = (
        "impressions_7", "impressions_30", "impressions_90", "events_7", "events_30", "events_90", "views_7",
        "views_30", "views_90", "clicks_7", "clicks_30", "clicks_90", "carts_30", "carts_90", "favorites_90",
        "purchases_30", "purchases_90",
    )  # fmt: skip
    counts = {f"user_{name}d": fn.col(name) for name in plain}
    active = {f"user_active_days_{days}d": fn.col(f"active_{days}") for days in (7, 30, 90)}
    return {
        **counts,
        "user_unique_items": fn.col("new_items_ever"),
        **active,
        "user_sessions_30d": fn.col("sessions_30"),
        "user_session_minutes_30d": share("session_seconds_30", "sessions_30") / 60,
        "user_session_events_30d": share("session_events_30", "sessions_30"),
    }


def _rates(source: Source) -> dict[str, Column]:
    clicks = fn.col("clicks_90")
    rates = {
        f"user_ctr_{days}d": click_rate(fn.col(f"clicks_{days}"), fn.col(f"impressions_{days}"), source)
        for days in (7, 30, 90)
    }
    return {
        **rates,
        "user_cvr_90d": rate(fn.col("purchases_90"), clicks, CVR_PRIOR),
        "user_cart_rate_90d": rate(fn.col("carts_90"), clicks, CART_PRIOR),
        "user_favorite_rate_90d": rate(fn.col("favorites_90"), clicks, FAVORITE_PRIOR),
        "user_repeat_share_90d": fn.coalesce(1 - fn.try_divide("items_90", "events_90"), fn.lit(0.0)),
        "user_weekend_share_90d": share("weekend_90", "events_90"),
    }


def _recency_and_money() -> dict[str, Column]:
    return {
        "user_days_since_event": recency("last_event", LONGEST_ABSENCE),
        "user_days_since_click": recency("last_click", LONGEST_ABSENCE),
        "user_days_since_purchase": recency("last_purchase", LONGEST_ABSENCE),
        "user_mean_price_90d": share("money_90", "priced_90") / MONEY,
        "user_max_price_90d": fn.coalesce("highest", fn.lit(0)) / MONEY,
        "user_spend_30d": fn.col("spend_30") / MONEY,
        "user_spend_90d": fn.col("spend_90") / MONEY,
        "user_lifetime_value": fn.col("spend_ever") / MONEY,
        "user_order_value_90d": share("spend_90", "purchases_90") / MONEY,
    }


def _taste() -> dict[str, Column]:
    category, brand, band = (fn.col(f"{name}_weights") for name in ("category_code", "brand_code", "price_band"))
    return {
        "user_segment": _segment(),
        "user_top_category": _top(category),
        "user_top_brand": _top(brand),
        "user_top_price_band": _top(band),
        "user_top_category_share": fn.array_max(_known(category)) / (fn.col("weight_90") + 1),
        "user_categories_90d": _met(category),
        "user_brands_90d": _met(brand),
        "user_category_affinity": _divided(category, fn.col("weight_90") + 1),
        "user_brand_affinity": _divided(brand, fn.col("weight_90") + 1),
        "user_price_affinity": _divided(band, fn.col("weight_90") + 1),
        "user_daypart_share": _divided(_counted("daypart", len(DAYPARTS)), fn.col("events_90") + 1),
        "user_device_share": _divided(_counted("device_code", len(DEVICES)), fn.col("events_90") + 1),
        "user_text_taste": _divided(_counted("text", REDUCED_WIDTH), (fn.col("weight_90") + 1) * TEXT),
    }


def _segment() -> Column:
    """Index in SEGMENTS: loyal, buying, browsing, dormant (nothing in 30 days), new (nothing ever)."""
    index = {name: fn.lit(n) for n, name in enumerate(SEGMENTS)}
    return (
        fn.when(fn.col("purchases_90") >= LOYAL, index["loyal"])
        .when(fn.col("purchases_90") > 0, index["buying"])
        .when(fn.col("events_30") > 0, index["browsing"])
        .when(fn.col("last_event").isNotNull(), index["dormant"])
        .otherwise(index["new"])
    )


def _counted(name: str, count: int) -> Column:
    return lanes([fn.col(f"{column}_90") for column in lane_names(name, count)], count)


def _known(weights: Column) -> Column:
    """Weights of the codes that mean something: all but 0."""
    return fn.slice(weights, 2, fn.size(weights) - 1)


def _top(weights: Column) -> Column:
    """The code of most weight, the first of equals; 0 where none has any."""
    most = fn.array_max(_known(weights))
    return fn.when(most > 0, fn.array_position(_known(weights), most)).otherwise(0)


def _met(weights: Column) -> Column:
    return fn.size(fn.filter(_known(weights), lambda weight: weight > 0))


def _divided(values: Column, by: Column) -> Column:
    return fn.transform(values, lambda value: (value / by).cast("float"))
