"""Features of a user, an item and a request together; they exist only in the assembler."""

from functools import partial

from feature_repo.feature import DAYPARTS, DEVICES, SEGMENTS, Feature

_cross = partial(Feature, group="cross", source="assemble", owner="ranking")

CROSS = (
    _cross(name="cross_similarity", description="inner product of user and item embedding"),
    _cross(name="cross_category_affinity", description="the user's affinity to the item's category"),
    _cross(name="cross_brand_affinity", description="the user's affinity to the item's brand"),
    _cross(name="cross_price_affinity", description="the user's affinity to the item's price band"),
    _cross(name="cross_text_affinity", description="cosine of the user's text taste and the item's text"),
    _cross(name="cross_top_category", description="1 if it is of the user's top category"),
    _cross(name="cross_top_brand", description="1 if it is of the user's top brand"),
    _cross(name="cross_top_price_band", description="1 if it is of the user's top price band"),
    _cross(name="cross_price_ratio", description="item price / (user's mean price + 1)"),
    _cross(name="cross_price_above_max", description="item price / (user's highest price + 1)"),
    _cross(name="cross_affinity_ctr", description="category affinity × item CTR"),
    _cross(name="cross_similarity_ctr", description="similarity × item CTR"),
    _cross(name="cross_recency_trending", description="trending / (1 + days since the user's last event)"),
    _cross(name="cross_seen_days", description="days of the user's history that hold the item"),
    _cross(name="cross_seen_recency", description="1 / (1 + place of its latest day in the history), 0 not seen"),
    _cross(name="cross_seen_grade", description="highest grade the user gave it in the history"),
    _cross(name="cross_same_country", description="1 if the request comes from the user's own country"),
    _cross(name="cross_same_language", description="1 if the request is in the user's own language"),
    _cross(name="cross_daypart_user", description="the user's share of events in the request's daypart"),
    _cross(name="cross_daypart_item", description="the item's share of events in the request's daypart"),
    _cross(name="cross_device_user", description="the user's share of events on the request's device"),
    _cross(
        name="cross_segment_daypart",
        description="user segment × daypart",
        kind="code",
        dtype="uint8",
        cardinality=len(SEGMENTS) * len(DAYPARTS),
    ),
    _cross(
        name="cross_device_weekend",
        description="device × weekend",
        kind="code",
        dtype="uint8",
        cardinality=len(DEVICES) * 2,
    ),
)
