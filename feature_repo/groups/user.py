"""Features of a user, daily: profile, counts by window, rates, recency, money, habits, affinities, the last items."""

from functools import partial

from feature_repo.feature import (
    BRANDS,
    CART_PRIOR,
    CATEGORIES,
    COUNTRIES,
    CTR_PRIOR,
    CVR_PRIOR,
    DAYPARTS,
    DEVICES,
    FAVORITE_PRIOR,
    GENDERS,
    HISTORY,
    LANGUAGES,
    PRICE_BANDS,
    REDUCED_WIDTH,
    SEGMENTS,
    TIERS,
    Feature,
)

_profile = partial(Feature, group="user", source="users", owner="profile")
_event = partial(Feature, group="user", source="events", owner="behaviour")
_shown = partial(Feature, group="user", source="impressions", owner="behaviour")
_rate = partial(_event, dtype="float16")
_share = partial(_event, dtype="float16", kind="shares", ranker=False)
_code = partial(_event, kind="code", dtype="uint8")

# Ages stop here, so that the row of who has been away for long does not change any more
LONGEST_ABSENCE = 90.0
LONGEST_TENURE = 365.0

PROFILE = (
    _profile(name="user_age", description="age in years, 0 unknown", dtype="uint8"),
    _profile(name="user_gender", description="index in GENDERS", kind="code", dtype="uint8", cardinality=len(GENDERS)),
    _profile(name="user_tier", description="index in TIERS", kind="code", dtype="uint8", cardinality=len(TIERS)),
    _profile(
        name="user_country", description="code of the country", kind="code", dtype="uint16", cardinality=COUNTRIES
    ),
    _profile(
        name="user_language", description="code of the language", kind="code", dtype="uint16", cardinality=LANGUAGES
    ),
    _profile(name="user_days_since_signup", description="days from signup to the snapshot, ≤ 365"),
)

COUNTS = (
    _shown(name="user_impressions_7d", description="items shown to the user, 7 days"),
    _shown(name="user_impressions_30d", description="items shown to the user, 30 days"),
    _shown(name="user_impressions_90d", description="items shown to the user, 90 days"),
    _event(name="user_events_7d", description="events of any type, 7 days"),
    _event(name="user_events_30d", description="events of any type, 30 days"),
    _event(name="user_events_90d", description="events of any type, 90 days"),
    _event(name="user_views_7d", description="views, 7 days"),
    _event(name="user_views_30d", description="views, 30 days"),
    _event(name="user_views_90d", description="views, 90 days"),
    _event(name="user_clicks_7d", description="clicks, 7 days"),
    _event(name="user_clicks_30d", description="clicks, 30 days"),
    _event(name="user_clicks_90d", description="clicks, 90 days"),
    _event(name="user_carts_30d", description="add_to_cart, 30 days"),
    _event(name="user_carts_90d", description="add_to_cart, 90 days"),
    _event(name="user_favorites_90d", description="favorites, 90 days"),
    _event(name="user_purchases_30d", description="purchases, 30 days"),
    _event(name="user_purchases_90d", description="purchases, 90 days"),
    _event(name="user_unique_items", description="distinct items ever acted on"),
    _event(name="user_active_days_7d", description="days with an event, 7 days"),
    _event(name="user_active_days_30d", description="days with an event, 30 days"),
    _event(name="user_active_days_90d", description="days with an event, 90 days"),
    _event(name="user_sessions_30d", description="sessions, 30 days; a session counts on each day it touches"),
    _event(name="user_session_minutes_30d", description="mean minutes from a session's first to last event, 30 days"),
    _event(name="user_session_events_30d", description="mean events of a session, 30 days"),
)

RATES = (
    _rate(name="user_ctr_7d", description="clicks / impressions, 7 days, by CTR_PRIOR", default=CTR_PRIOR[0]),
    _rate(name="user_ctr_30d", description="clicks / impressions, 30 days, by CTR_PRIOR", default=CTR_PRIOR[0]),
    _rate(name="user_ctr_90d", description="clicks / impressions, 90 days, by CTR_PRIOR", default=CTR_PRIOR[0]),
    _rate(name="user_cvr_90d", description="purchases / clicks, 90 days, by CVR_PRIOR", default=CVR_PRIOR[0]),
    _rate(name="user_cart_rate_90d", description="add_to_cart / clicks, by CART_PRIOR", default=CART_PRIOR[0]),
    _rate(
        name="user_favorite_rate_90d", description="favorites / clicks, by FAVORITE_PRIOR", default=FAVORITE_PRIOR[0]
    ),
    _rate(name="user_repeat_share_90d", description="share of events beyond the first with an item on a day, 90 days"),
    _rate(name="user_weekend_share_90d", description="share of events on Saturday and Sunday, 90 days"),
)

RECENCY_AND_MONEY = (
    _event(name="user_days_since_event", description="days since the last event, ≤ 90", default=LONGEST_ABSENCE),
    _event(name="user_days_since_click", description="days since the last click, ≤ 90", default=LONGEST_ABSENCE),
    _event(name="user_days_since_purchase", description="days since the last purchase, ≤ 90", default=LONGEST_ABSENCE),
    _event(name="user_mean_price_90d", description="mean price of items acted on, 90 days"),
    _event(name="user_max_price_90d", description="highest price of an item acted on, 90 days"),
    _event(name="user_spend_30d", description="sum of price × quantity over purchases, 30 days"),
    _event(name="user_spend_90d", description="sum of price × quantity over purchases, 90 days"),
    _event(name="user_lifetime_value", description="sum of price × quantity over all purchases"),
    _event(name="user_order_value_90d", description="spend / purchases, 90 days; 0 without a purchase"),
)

TASTE = (
    _code(name="user_segment", description="index in SEGMENTS, by events and purchases", cardinality=len(SEGMENTS)),
    _code(name="user_top_category", description="category of most weight, 90 days", cardinality=CATEGORIES),
    _code(name="user_top_brand", description="brand of most weight, 90 days", cardinality=BRANDS),
    _code(name="user_top_price_band", description="price band of most weight, 90 days", cardinality=PRICE_BANDS),
    _rate(name="user_top_category_share", description="share of the category of most weight, 90 days"),
    _event(name="user_categories_90d", description="categories acted on, 90 days", dtype="uint8"),
    _event(name="user_brands_90d", description="brands acted on, 90 days", dtype="uint8"),
    _share(
        name="user_category_affinity", description="weighted share of actions by category, 90 days", width=CATEGORIES
    ),
    _share(name="user_brand_affinity", description="weighted share of actions by brand, 90 days", width=BRANDS),
    _share(
        name="user_price_affinity", description="weighted share of actions by price band, 90 days", width=PRICE_BANDS
    ),
    _share(name="user_daypart_share", description="share of events by UTC daypart, 90 days", width=len(DAYPARTS)),
    _share(name="user_device_share", description="share of events by device, 90 days", width=len(DEVICES)),
    _share(
        name="user_text_taste",
        kind="vector",
        description="mean title (reduced) of what the user acted on, 90 d",
        width=REDUCED_WIDTH,
    ),
)

USER = (*PROFILE, *COUNTS, *RATES, *RECENCY_AND_MONEY, *TASTE)

SEQUENCE = (
    Feature(
        name="user_history",
        group="history",
        description="the last item-days before the request, latest first: 62 bits of the item's key, its grade that day"
        " in the low two; those since the snapshot are added as events come in",
        source="events",
        owner="behaviour",
        kind="sequence",
        dtype="int64",
        width=HISTORY,
        ranker=False,
    ),
)
