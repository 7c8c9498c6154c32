"""Clean events joined with what features need of their item: codes, price, weight, grade, day."""

from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as fn

from training.pipeline.clock import day_of
from training.pipeline.vocabulary import Vocabulary, brand_code, category_code, price_band

WEIGHTS = {"view": 1, "click": 1, "add_to_cart": 2, "favorite": 2, "purchase": 3}
GRADES = {"view": 1, "click": 1, "add_to_cart": 2, "favorite": 2, "purchase": 3}
ENGAGED = ("click", "add_to_cart", "favorite", "purchase")
LONG_AGO = datetime(1900, 1, 1, tzinfo=UTC)
MONEY = 10_000  # prices are summed as integers, so that a sum does not depend on the order of its rows


def with_codes(items: DataFrame, vocabulary: Vocabulary) -> DataFrame:
    """Items with `category_code`, `brand_code`, `price_band` and `born`, which is `created_at` or long ago."""
    return items.withColumns({
        "category_code": category_code(vocabulary),
        "brand_code": brand_code(vocabulary),
        "price_band": price_band(vocabulary),
        "born": fn.coalesce("created_at", fn.lit(LONG_AGO)),
    })  # fmt: skip


def actions(events: DataFrame, items: DataFrame) -> DataFrame:
    """One row per event; `items` as of `with_codes`. `money` is the price in 1/10000 of the currency."""
    known = items.select("item_id", "category_code", "brand_code", "price_band", fn.col("price").alias("item_price"))
    price = fn.coalesce("price", "item_price")
    return events.join(known, "item_id").select(
        "user_id", "item_id", "event_type", "timestamp", "request_id", "device", "country",
        "category_code", "brand_code", "price_band",
        day_of("timestamp").alias("day"),
        lookup("event_type", WEIGHTS).alias("weight"),
        lookup("event_type", GRADES).alias("grade"),
        fn.round(price * MONEY).cast("long").alias("money"),
        fn.coalesce("quantity", fn.lit(1)).alias("quantity"),
    )  # fmt: skip


def lookup(column: str, table: dict[str, int]) -> Column:
    """The table's value for the column's."""
    pairs = [fn.lit(part) for pair in table.items() for part in pair]
    return fn.create_map(*pairs)[fn.col(column)]


def count_of(event_type: str) -> Column:
    """How many rows of a group are of this event type."""
    return fn.sum((fn.col("event_type") == event_type).cast("int"))
