"""What looks odd in clean rows. Counted and listed, never removed: whoever wants to drop it finds it in `anomalies`.

Odd and empty days (`activity`), outliers among the numbers (`fences`), users that act like machines, and more
categories than there are codes for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as fn

from feature_repo.schema import CATEGORIES
from training.validation.activity import Activity, activities
from training.validation.fences import Distribution, Key, distributions, spreads
from training.validation.profile import Profile
from training.validation.schemas import numbers

BOT_EVENTS_PER_DAY = 1000
CODES = CATEGORIES - 1  # code 0 is every other category
EXPLOSION = 0.2  # share of the items in categories without a code of their own
LISTED = 10
USER_DAYS = "user-days"
TIMED = ("events", "impressions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bots:
    """Users above BOT_EVENTS_PER_DAY, their events on those days, and the LISTED busiest (user, day, events)."""

    users: int
    events: int
    busiest: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Categories:
    """Items by category: the CODES largest by name, the items of all others, and those without a category."""

    distinct: int
    largest: dict[str, int]
    others: int
    missing: int

    @property
    def other_share(self) -> float:
        """Items in categories that share code 0, of all items that have a category."""
        known = sum(self.largest.values()) + self.others
        return self.others / known if known else 0.0

    @property
    def exploded(self) -> bool:
        """Too many items have a category that features cannot tell from others."""
        return self.other_share > EXPLOSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomalies:
    """Everything odd, and the distributions it was judged by; `distributions` by (table, column)."""

    activities: dict[str, Activity]
    bots: Bots
    categories: Categories
    distributions: dict[Key, Distribution]

    def document(self) -> dict[str, Any]:
        """What report.json says."""
        volume = {
            f"{kind}_days": [str(day) for day in getattr(self.activities["events"], f"{kind}_days")]
            for kind in ("odd", "empty")
        }
        shown = self.activities["impressions"]
        return volume | {
            "odd_impression_days": [str(day) for day in shown.odd_days],
            "empty_impression_days": [str(day) for day in shown.empty_days],
            "bot_users": self.bots.users,
            "bot_events": self.bots.events,
            "outliers": {f"{table} {column}": d.outliers for (table, column), d in self.distributions.items()},
            "categories": self.categories.distinct,
            "other_category_share": self.categories.other_share,
            "category_explosion": self.categories.exploded,
        }


def anomalies(tables: Mapping[str, DataFrame], profiles: Mapping[str, Profile], folder: Path) -> Anomalies:
    """Look at the clean tables; writes `anomalies/users` below the folder: [user_id, day, events] of every bot."""
    day = fn.to_date("timestamp").alias("day")
    daily = tables["events"].groupBy("user_id", day).agg(fn.count("*").alias("events")).persist()
    columns = [*_numbers(profiles), (USER_DAYS, "events")]
    numeric = {**tables, USER_DAYS: daily}
    found = Anomalies(
        bots=_bots(daily, folder / "anomalies" / "users"),
        activities=activities({name: tables[name] for name in TIMED}),
        categories=_categories(tables["items"], profiles["items"]),
        distributions=distributions(numeric, spreads(numeric, columns)),
    )
    daily.unpersist()
    return found


def _numbers(profiles: Mapping[str, Profile]) -> Iterator[Key]:
    """Every column of numbers that has any."""
    for name, profile in profiles.items():
        yield from ((name, column) for column in numbers(name) if profile.missing[column] < profile.clean)


def _bots(daily: DataFrame, path: Path) -> Bots:
    """Writes the user-days above the limit."""
    above = daily.filter(fn.col("events") > BOT_EVENTS_PER_DAY)
    total = above.agg(fn.count_distinct("user_id").alias("users"), fn.sum("events").alias("events"))
    users, events = total.collect()[0]
    above.coalesce(1).write.parquet(str(path))
    busiest = above.orderBy(fn.desc("events"), "user_id", "day").limit(LISTED).collect() if users else []
    rows = tuple((row["user_id"], str(row["day"]), row["events"]) for row in busiest)
    return Bots(users=users, events=events or 0, busiest=rows)


def _categories(items: DataFrame, profile: Profile) -> Categories:
    named = items.filter(fn.col("category").isNotNull()).groupBy("category").agg(fn.count("*").alias("items"))
    rows = named.orderBy(fn.desc("items"), "category").limit(CODES).collect()
    largest = {row["category"]: row["items"] for row in rows}
    missing = profile.missing["category"]
    return Categories(
        distinct=named.count() if len(rows) == CODES else len(rows),
        largest=largest,
        others=profile.clean - missing - sum(largest.values()),
        missing=missing,
    )
