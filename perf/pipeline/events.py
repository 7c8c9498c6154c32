"""A raw source of any size, written by Spark: sessions of ten impressions and ten events over ninety days.

Users and items are skewed (a user's rank is the square of a uniform number, an item's the cube), everything is a hash
of the row's number, so that two runs write the same. Titles repeat: encoding text is measured elsewhere.
"""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as fn

from deploy.settings import load_settings
from training.adapters.canonical import SCHEMAS
from training.adapters.publish import publish
from training.adapters.source import Source, write_source
from training.pipeline.clock import EPOCH
from training.pipeline.session import open_session
from training.validation.schemas import spark_type

AS_OF = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 90
LIST = 10  # impressions and events of a session
EVENTS_PER_USER, EVENTS_PER_ITEM = 50, 500
FIRST_SECOND = int((AS_OF - timedelta(days=DAYS) - EPOCH).total_seconds())
SOURCE = Source(name="files", has_impressions=True, as_of=AS_OF, notes="generated to measure the pipeline's growth")
WORDS = ("red", "blue", "small", "large", "light", "sturdy", "classic", "modern", "lamp", "chair", "jacket", "kettle")
COUNTRIES = ("US", "DE", "FR", "GB", "IN", "BR")
DEVICES = ("mobile", "desktop", "tablet", "tv")


def write_source_of(spark: SparkSession, folder: Path, events: int) -> dict[str, int]:
    """Write raw tables with this many events and as many impressions; returns rows by table."""
    rows = {"events": events, "impressions": events, "items": max(events // EVENTS_PER_ITEM, 100),
            "users": max(events // EVENTS_PER_USER, 100)}  # fmt: skip
    tables = {"items": _items, "users": _users, "impressions": _impressions, "events": _events}
    with publish(folder) as partial:
        for name, table in tables.items():
            content = _canonical(table(spark.range(rows[name]), rows), name)
            content.write.parquet(str(partial / name))
        write_source(partial, SOURCE, rows)
    return rows


def _events(numbers: DataFrame, rows: dict[str, int]) -> DataFrame:
    """Each event is of one of the items its session's list showed."""
    session = fn.floor(fn.col("id") / LIST)
    place = _hash("place", fn.col("id")) % LIST
    kind = _hash("kind", fn.col("id")) % 100
    event_type = fn.when(kind < 60, "view").when(kind < 88, "click").when(kind < 94, "add_to_cart")
    return _asked(numbers, session, rows).withColumns({
        "event_type": event_type.when(kind < 97, "favorite").otherwise("purchase"),
        "item_id": _item(session * LIST + place, rows),
        "timestamp": _moment(session, 10 + fn.col("id") % LIST * 20),
        "price": _price(_item_number(session * LIST + place, rows)),
        "quantity": fn.lit(1),
        "event_id": fn.concat(fn.lit("e"), "id"),
    })  # fmt: skip


def _impressions(numbers: DataFrame, rows: dict[str, int]) -> DataFrame:
    return _asked(numbers, fn.floor(fn.col("id") / LIST), rows).withColumns({
        "item_id": _item(fn.col("id"), rows),
        "position": (fn.col("id") % LIST + 1).cast("int"),
        "timestamp": _moment(fn.floor(fn.col("id") / LIST), fn.lit(0)),
        "placement": fn.lit("home"),
    })  # fmt: skip


def _items(numbers: DataFrame, _: dict[str, int]) -> DataFrame:
    number = fn.col("id")
    return numbers.select(
        _name("i", number).alias("item_id"),
        fn.concat(fn.lit("category "), _hash("category", number) % 24).alias("category"),
        fn.concat(fn.lit("brand "), _hash("brand", number) % 200).alias("brand"),
        fn.concat_ws(" ", *(_one_of(WORDS, f"word {n}", number) for n in range(3))).alias("title"),
        _price(number).alias("price"),
        fn.timestamp_seconds(FIRST_SECOND - _hash("born", number) % (300 * 86_400)).alias("created_at"),
        fn.lit(True).alias("in_stock"),
    )


def _users(numbers: DataFrame, _: dict[str, int]) -> DataFrame:
    number = fn.col("id")
    return numbers.select(
        _name("u", number).alias("user_id"),
        _one_of(COUNTRIES, "country", number).alias("country"),
        (_hash("age", number) % 60 + 18).cast("int").alias("age"),
        fn.timestamp_seconds(FIRST_SECOND - _hash("signup", number) % (600 * 86_400)).alias("signup_at"),
    )


def _asked(numbers: DataFrame, session: Column, rows: dict[str, int]) -> DataFrame:
    """What the requests of a session say of themselves."""
    user = fn.floor(fn.pow(_uniform("user", session), 2) * rows["users"])
    return numbers.withColumns({
        "user_id": _name("u", user),
        "session_id": _name("s", session),
        "request_id": _name("r", session),
        "device": _one_of(DEVICES, "device", session),
        "country": _one_of(COUNTRIES, "country", user),
    })  # fmt: skip


def _item_number(place: Column, rows: dict[str, int]) -> Column:
    """The item at a place of a list; places of one list hold different items."""
    first = fn.floor(fn.pow(_uniform("item", fn.floor(place / LIST)), 3) * rows["items"])
    return fn.pmod(first + place % LIST, fn.lit(rows["items"]))


def _item(place: Column, rows: dict[str, int]) -> Column:
    return _name("i", _item_number(place, rows))


def _moment(session: Column, seconds: Column) -> Column:
    day = _hash("day", session) % DAYS
    return fn.timestamp_seconds(FIRST_SECOND + day * 86_400 + _hash("second", session) % 86_000 + seconds)


def _price(number: Column) -> Column:
    return (_hash("price", number) % 20_000 + 100) / 100


def _one_of(words: tuple[str, ...], salt: str, number: Column) -> Column:
    return fn.element_at(fn.array(*map(fn.lit, words)), (_hash(salt, number) % len(words) + 1).cast("int"))


def _name(letter: str, number: Column) -> Column:
    return fn.concat(fn.lit(letter), number.cast("long").cast("string"))


def _uniform(salt: str, number: Column) -> Column:
    return _hash(salt, number) % 1_000_003 / 1_000_003


def _hash(salt: str, number: Column) -> Column:
    return fn.pmod(fn.xxhash64(fn.lit(salt), number), fn.lit(1 << 40))


def _canonical(rows: DataFrame, name: str) -> DataFrame:
    """All canonical columns, null where the generator says nothing."""
    return rows.select(*(
        (fn.col(f.name) if f.name in rows.columns else fn.lit(None)).cast(spark_type(f.type)).alias(f.name)
        for f in SCHEMAS[name]
    ))  # fmt: skip


def main() -> None:
    """`python -m perf.pipeline.events N`: replace the workspace's raw tables by N generated events."""
    settings = load_settings()
    with open_session(settings) as spark:
        rows = write_source_of(spark, settings.raw, int(sys.argv[1]))
    sys.stdout.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
