"""Clean events joined with what features need of their item: codes, price, text, key, weight, grade, day."""

from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as fn

from feature_repo.served import GRADES
from feature_repo.vectors import GRADE_BITS
from training.pipeline.clock import day_of
from training.pipeline.vocabulary import Vocabulary, brand_code, category_code, price_band

WEIGHTS = {"view": 1, "click": 1, "add_to_cart": 2, "favorite": 2, "purchase": 3}
LONG_AGO = datetime(1900, 1, 1, tzinfo=UTC)
MONEY = 10_000  # prices are summed as integers, so that a sum does not depend on the order of its rows
MOST_PRICE, MOST_QUANTITY = 1e8, 10_000  # more counts as so much: sums of integers have an end
TEXT = 1_000  # as are the components of a title
CONTEXT = ("device", "os", "country", "language", "time_zone", "referrer", "session_id")
OF_ITEM = ("category_code", "brand_code", "price_band", "item_key", "text")


def with_codes(items: DataFrame, vocabulary: Vocabulary) -> DataFrame:
    """Items with `category_code`, `brand_code`, `price_band` and `born`, which is `created_at` or long ago."""
    coded = items.withColumns({
        "category_code": category_code(vocabulary),
        "brand_code": brand_code(vocabulary),
        "price_band": price_band(vocabulary),
        "born": fn.coalesce("created_at", fn.lit(LONG_AGO)),
    })  # fmt: skip
    usual = coded.groupBy("category_code").agg(fn.avg("price").alias("category_price"))
    return coded.join(fn.broadcast(usual), "category_code", "left")


def with_content(items: DataFrame, content: DataFrame) -> DataFrame:
    """Items with `item_key` and `text`, the title's components as integers, `TEXT` to one."""
    text = fn.transform("item_text", lambda value: fn.round(value * TEXT).cast("int"))
    known = content.select("item_id", "item_key", "item_text", text.alias("text"))
    return items.join(known, "item_id")


def actions(events: DataFrame, items: DataFrame) -> DataFrame:
    """One row per event; `items` as of `with_content`. `money` is the price in 1/10000 of the currency."""
    known = items.select("item_id", *OF_ITEM, fn.col("price").alias("item_price"))
    price = fn.coalesce("price", "item_price")
    return events.join(known, "item_id").select(
        "user_id", "item_id", "event_type", "timestamp", "request_id", *CONTEXT, *OF_ITEM,
        day_of("timestamp").alias("day"),
        lookup("event_type", WEIGHTS).alias("weight"),
        lookup("event_type", GRADES).alias("grade"),
        fn.when(price.isNotNull(), fn.round(fn.least(price, fn.lit(MOST_PRICE)) * MONEY)).cast("long").alias("money"),
        fn.least(fn.coalesce("quantity", fn.lit(1)), fn.lit(MOST_QUANTITY)).alias("quantity"),
    )  # fmt: skip


def item_days(rows: DataFrame) -> DataFrame:
    """One row per (user, item, day) of actions: first and last moment, grade, the history's entry of it."""
    grade = fn.max("grade")
    entry = fn.first("item_key").bitwiseAND(fn.lit(~GRADE_BITS)).bitwiseOR(grade.cast("long"))
    return rows.groupBy("user_id", "item_id", "day").agg(
        fn.min(fn.struct("timestamp", *CONTEXT)).alias("first"),
        fn.max("timestamp").alias("last"),
        grade.alias("grade"),
        fn.max((fn.col("event_type") == "purchase").cast("int")).alias("purchased"),
        entry.alias("entry"),
    )


def lookup(column: str, table: dict[str, int]) -> Column:
    """The table's value for the column's."""
    pairs = [fn.lit(part) for pair in table.items() for part in pair]
    return fn.create_map(*pairs)[fn.col(column)]


def count_of(event_type: str) -> Column:
    """How many rows of a group are of this event type."""
    return fn.sum((fn.col("event_type") == event_type).cast("int"))


def spending() -> Column:
    """Money × quantity summed over the purchases of a group."""
    return fn.sum(fn.when(fn.col("event_type") == "purchase", fn.col("money") * fn.col("quantity")))


def weekend() -> Column:
    """Rows of a group on Saturday or Sunday; 1970-01-01 was a Thursday."""
    return fn.sum((fn.pmod(fn.col("day") + 3, fn.lit(7)) >= 5).cast("int"))
