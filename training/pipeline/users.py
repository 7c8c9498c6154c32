"""User snapshots: what a user did, rolled up as of a day; `profile` turns it into features."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as fn

from feature_repo.schema import BRANDS, CATEGORIES, DAYPARTS, DEVICES, HISTORY, PRICE_BANDS, REDUCED_WIDTH
from training.adapters.source import Source
from training.pipeline.actions import count_of, spending, weekend
from training.pipeline.lanes import by_code, by_place, lane_names, lanes
from training.pipeline.profile import user_features
from training.pipeline.rolling import first_days, rolled, timeline
from training.pipeline.snapshots import stamped

KEY = "user_id"
DAYPART_HOURS = 24 // len(DAYPARTS)
LARGEST = {"last_event": None, "last_click": None, "last_purchase": None, "highest": 90}
# lanes of weight by code, of counts by daypart and device, of text components
CODES = {"category_code": CATEGORIES, "brand_code": BRANDS, "price_band": PRICE_BANDS}
COUNTED = {"daypart": len(DAYPARTS), "device_code": len(DEVICES)}
FRAMES: dict[str, tuple[int | None, ...]] = {
    "impressions": (7, 30, 90), "events": (7, 30, 90), "views": (7, 30, 90), "clicks": (7, 30, 90), "carts": (30, 90),
    "favorites": (90,), "purchases": (30, 90), "active": (7, 30, 90), "sessions": (30,), "session_seconds": (30,),
    "session_events": (30,), "items": (90, None), "new_items": (None,), "money": (90,), "priced": (90,),
    "spend": (30, 90, None), "weight": (90,), "weekend": (90,),
}  # fmt: skip


def user_snapshots(
    source: Source, requested: DataFrame, actions: DataFrame, days: DataFrame, impressions: DataFrame, users: DataFrame
) -> DataFrame:
    """Snapshots of the requested (user_id, day, final): [user_id, timestamps, one column per feature, history]."""
    shown = impressions.groupBy(KEY, "day").agg(fn.count("*").alias("impressions"))
    met = days.groupBy(KEY, "day").agg(fn.count("*").alias("items"))
    parts = (_daily(actions), _sessions(actions), shown, met, first_days(days, KEY, "item_id", "new_items"))
    table = timeline(requested, parts, KEY, tuple(LARGEST))
    sums = rolled(table, KEY, {**FRAMES, **_lane_frames()}, LARGEST)
    known = sums.withColumns(_weights()).join(users, KEY).join(_histories(days), KEY, "left")
    return stamped(known, KEY, source.as_of, user_features(source), {"user_history": _history()})


def _daily(actions: DataFrame) -> DataFrame:
    """Measures per user and day, those by code in lanes."""
    part = (fn.hour("timestamp") / DAYPART_HOURS).cast("int")
    device = fn.coalesce(fn.array_position(fn.array(*map(fn.lit, DEVICES)), fn.col("device")) - 1, fn.lit(0))
    rows = actions.withColumns({"daypart": part, "device_code": fn.greatest(device, fn.lit(0)), "one": fn.lit(1)})
    return rows.groupBy(KEY, "day").agg(
        fn.count("*").alias("events"),
        fn.lit(1).alias("active"),
        count_of("view").alias("views"),
        count_of("click").alias("clicks"),
        count_of("add_to_cart").alias("carts"),
        count_of("favorite").alias("favorites"),
        count_of("purchase").alias("purchases"),
        fn.sum("money").alias("money"),
        fn.count("money").alias("priced"),
        fn.max("money").alias("highest"),
        spending().alias("spend"),
        fn.max("timestamp").alias("last_event"),
        _last("click").alias("last_click"),
        _last("purchase").alias("last_purchase"),
        fn.sum("weight").alias("weight"),
        weekend().alias("weekend"),
        *_in_lanes(),
    )


def _in_lanes() -> list[Column]:
    text = [fn.get("text", fn.lit(n)) * fn.col("weight") for n in range(REDUCED_WIDTH)]
    values = {code: by_code(code, n, "weight") for code, n in CODES.items()}
    values |= {code: by_code(code, n, "one") for code, n in COUNTED.items()} | {"text": by_place(text)}
    return [
        fn.sum(value).alias(name)
        for code, columns in values.items()
        for name, value in zip(lane_names(code, 2 * len(columns)), columns, strict=True)
    ]


def _last(event_type: str) -> Column:
    return fn.max(fn.when(fn.col("event_type") == event_type, fn.col("timestamp")))


def _sessions(actions: DataFrame) -> DataFrame:
    """Sessions, their seconds and events per user and day; without a session id a day is one session."""
    sessions = actions.groupBy(KEY, "day", "session_id").agg(
        fn.count("*").alias("session_events"),
        (fn.unix_seconds(fn.max("timestamp")) - fn.unix_seconds(fn.min("timestamp"))).alias("session_seconds"),
    )
    return sessions.groupBy(KEY, "day").agg(
        fn.count("*").alias("sessions"),
        fn.sum("session_seconds").alias("session_seconds"),
        fn.sum("session_events").alias("session_events"),
    )


def _lane_frames() -> dict[str, tuple[int, ...]]:
    widths = {**CODES, **COUNTED, "text": REDUCED_WIDTH}
    return {name: (90,) for code, n in widths.items() for name in lane_names(code, n)}


def _weights() -> dict[str, Column]:
    """Weight by code as one array for each kind of code."""
    packed = {code: [fn.col(f"{name}_90") for name in lane_names(code, n)] for code, n in CODES.items()}
    return {f"{code}_weights": lanes(packed[code], n) for code, n in CODES.items()}


def _histories(days: DataFrame) -> DataFrame:
    """Every user's entries in order of time: [user_id, entries]."""
    ordered = fn.sort_array(fn.collect_list(fn.struct("day", "last", "item_id", "entry")))
    return days.groupBy(KEY).agg(fn.transform(ordered, lambda row: row["entry"]).alias("entries"))


def _history() -> Column:
    """The latest entries before the snapshot's day, latest first; `items_ever` says how many there are."""
    start = fn.greatest(fn.col("items_ever") - (HISTORY - 1), fn.lit(1)).cast("int")
    latest = fn.slice("entries", start, fn.least("items_ever", fn.lit(HISTORY)).cast("int"))
    return fn.coalesce(fn.reverse(latest), fn.array().cast("array<bigint>"))
