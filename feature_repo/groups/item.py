"""Features of an item: what the catalogue says, what happened to it by window, rates; its title and image apart."""

from functools import partial

from feature_repo.feature import (
    BRANDS,
    CART_PRIOR,
    CATEGORIES,
    CTR_PRIOR,
    CVR_PRIOR,
    DAYPARTS,
    FAVORITE_PRIOR,
    IMAGE_WIDTH,
    PRICE_BANDS,
    REDUCED_WIDTH,
    TEXT_WIDTH,
    Feature,
)

_said = partial(Feature, group="item", source="items", owner="catalogue")
_code = partial(_said, kind="code", dtype="uint8")
_event = partial(Feature, group="item", source="events", owner="behaviour")
_shown = partial(Feature, group="item", source="impressions", owner="behaviour")
_rate = partial(_event, dtype="float16")
_content = partial(Feature, group="content", source="items", owner="content", kind="vector", dtype="float16")

LONGEST_QUIET = 365.0

SAID = (
    _code(name="item_category", description="category by frequency, 0 other", cardinality=CATEGORIES),
    _code(name="item_brand", description="brand by frequency, 0 other", cardinality=BRANDS),
    _code(name="item_price_band", description="price quantile band, 0 no price", cardinality=PRICE_BANDS),
    _said(name="item_price", description="price, 0 unknown"),
    _said(name="item_price_in_category", description="price / mean price of its category; 1 unknown", default=1.0),
    _said(name="item_rating", description="mean rating as the source states it", dtype="float16"),
    _said(name="item_review_count", description="number of reviews as the source states it"),
    _said(name="item_days_since_created", description="days from creation to the snapshot"),
    _said(name="item_tags", description="number of tags", dtype="uint8"),
    _said(name="item_title_words", description="words of the title", dtype="uint8"),
    _said(name="item_has_image", description="1 with an image URL or vector", dtype="uint8"),
    _said(name="item_regions", description="regions it is sold in; 0 everywhere", dtype="uint8"),
)

COUNTS = (
    _shown(name="item_impressions_1d", description="times shown, 1 day"),
    _shown(name="item_impressions_7d", description="times shown, 7 days"),
    _shown(name="item_impressions_30d", description="times shown, 30 days"),
    _shown(name="item_mean_position_30d", description="mean position shown at, 30 days; 0 not shown"),
    _event(name="item_events_1d", description="events of any type, 1 day"),
    _event(name="item_events_7d", description="events of any type, 7 days"),
    _event(name="item_events_30d", description="events of any type, 30 days"),
    _event(name="item_events_90d", description="events of any type, 90 days"),
    _event(name="item_views_7d", description="views, 7 days"),
    _event(name="item_views_30d", description="views, 30 days"),
    _event(name="item_views_90d", description="views, 90 days"),
    _event(name="item_clicks_1d", description="clicks, 1 day"),
    _event(name="item_clicks_7d", description="clicks, 7 days"),
    _event(name="item_clicks_30d", description="clicks, 30 days"),
    _event(name="item_clicks_90d", description="clicks, 90 days"),
    _event(name="item_carts_7d", description="add_to_cart, 7 days"),
    _event(name="item_carts_30d", description="add_to_cart, 30 days"),
    _event(name="item_favorites_30d", description="favorites, 30 days"),
    _event(name="item_purchases_7d", description="purchases, 7 days"),
    _event(name="item_purchases_30d", description="purchases, 30 days"),
    _event(name="item_purchases_90d", description="purchases, 90 days"),
    _event(name="item_revenue_30d", description="sum of price × quantity over purchases, 30 days"),
    _event(name="item_unique_users", description="distinct users ever acting on it"),
    _event(name="item_user_days_7d", description="(user, day) pairs acting on it, 7 days"),
    _event(name="item_user_days_30d", description="(user, day) pairs acting on it, 30 days"),
    _event(name="item_days_since_event", description="days since its last event, ≤ 365", default=LONGEST_QUIET),
)

RATES = (
    _rate(name="item_ctr_7d", description="clicks / impressions, 7 days, by CTR_PRIOR", default=CTR_PRIOR[0]),
    _rate(name="item_ctr_30d", description="clicks / impressions, 30 days, by CTR_PRIOR", default=CTR_PRIOR[0]),
    _rate(name="item_cvr_30d", description="purchases / clicks, 30 days, by CVR_PRIOR", default=CVR_PRIOR[0]),
    _rate(name="item_cvr_90d", description="purchases / clicks, 90 days, by CVR_PRIOR", default=CVR_PRIOR[0]),
    _rate(name="item_cart_rate_30d", description="add_to_cart / clicks, by CART_PRIOR", default=CART_PRIOR[0]),
    _rate(
        name="item_favorite_rate_30d", description="favorites / clicks, by FAVORITE_PRIOR", default=FAVORITE_PRIOR[0]
    ),
    _rate(name="item_trending", description="events in 30 days / (events ever + 1)"),
    _rate(name="item_momentum", description="events in 7 days / (events in 30 days + 1)"),
    _rate(name="item_new_user_share", description="users met for the first time / (user-days + 1), 30 days"),
    _rate(name="item_mobile_share_90d", description="share of events from mobile devices, 90 days"),
    _rate(name="item_weekend_share_90d", description="share of events on Saturday and Sunday, 90 days"),
)

ITEM = (
    *SAID,
    *COUNTS,
    *RATES,
    _rate(
        name="item_daypart_share",
        description="share of events by UTC daypart, 90 days",
        kind="shares",
        width=len(DAYPARTS),
    ),
    _said(
        name="item_text",
        description="principal components of the title's embedding, 0 without a title",
        kind="vector",
        dtype="float16",
        width=REDUCED_WIDTH,
        owner="content",
    ),
)

CONTENT = (
    _content(name="content_text", description="the title's embedding, unit length", width=TEXT_WIDTH, ranker=False),
    _content(
        name="content_image",
        description="principal components of the source's image vector",
        width=IMAGE_WIDTH,
        ranker=False,
    ),
)
