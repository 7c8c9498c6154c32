"""Features recomputed one key and one day at a time in plain pandas, to hold against what Spark computed at once."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from feature_repo.vectors import history_entry, item_key

WEIGHTS = {"view": 1, "click": 1, "add_to_cart": 2, "favorite": 2, "purchase": 3}
DEVICES = ("unknown", "mobile", "desktop", "tablet", "tv")
Tables = dict[str, pd.DataFrame]
Row = dict[str, Any]


def moments(event_timestamp: datetime, as_of: datetime) -> tuple[datetime, datetime]:
    """(events before this count, ages are taken at this) of the snapshot with the given event timestamp."""
    if event_timestamp == as_of:
        return as_of + timedelta(microseconds=1), as_of
    day = event_timestamp - timedelta(hours=1)
    return day, day


@dataclass(frozen=True)
class Past:
    """What happened to one key before a moment: events with their codes, impressions, and when ages are taken."""

    events: pd.DataFrame
    shown: pd.DataFrame
    until: datetime
    now: datetime

    def last(self, days: int, kind: str | None = None) -> pd.DataFrame:
        """Events of the last days before the next midnight at or after `until`: windows are whole days."""
        recent = self.events[self.events.timestamp >= _midnight(self.until) - timedelta(days=days)]
        return recent if kind is None else recent[recent.event_type == kind]

    def count(self, days: int, kind: str | None = None) -> int:
        """How many of them."""
        return len(self.last(days, kind))

    def impressions(self, days: int) -> pd.DataFrame:
        """Impressions of the last days."""
        return self.shown[self.shown.timestamp >= _midnight(self.until) - timedelta(days=days)]

    def since(self, kind: str | None, longest: float) -> float:
        """Days since the last event (of a kind)."""
        rows = self.events if kind is None else self.events[self.events.event_type == kind]
        return min((self.now - rows.timestamp.max()) / timedelta(days=1), longest) if len(rows) else longest


def user_row(tables: Tables, vocabulary: Row, user_id: str, until: datetime, now: datetime) -> Row:
    """Features of one user from everything before `until`."""
    coded = _past(tables["events"], "user_id", user_id, until).merge(_coded(tables["items"], vocabulary), on="item_id")
    past = Past(coded, _past(tables["impressions"], "user_id", user_id, until), until, now)
    quarter = past.last(90)
    weight = quarter.event_type.map(WEIGHTS).sum()
    bought = {days: past.last(days, "purchase") for days in (30, 90)}
    spend = {days: (rows.price * rows.quantity).sum() for days, rows in bought.items()}
    ever = coded[coded.event_type == "purchase"]
    signup = tables["users"].set_index("user_id").signup_at[user_id]
    clicks = past.count(90, "click")
    return {
        "user_days_since_signup": min(max((now - signup) / timedelta(days=1), 0), 365),
        **{f"user_impressions_{d}d": len(past.impressions(d)) for d in (7, 30, 90)},
        **{f"user_events_{d}d": past.count(d) for d in (7, 30, 90)},
        **{f"user_views_{d}d": past.count(d, "view") for d in (7, 30, 90)},
        **{f"user_clicks_{d}d": past.count(d, "click") for d in (7, 30, 90)},
        **{f"user_carts_{d}d": past.count(d, "add_to_cart") for d in (30, 90)},
        "user_favorites_90d": past.count(90, "favorite"),
        **{f"user_purchases_{d}d": len(bought[d]) for d in (30, 90)},
        "user_unique_items": coded.item_id.nunique(),
        **{f"user_active_days_{d}d": past.last(d).timestamp.dt.date.nunique() for d in (7, 30, 90)},
        **_sessions(past.last(30)),
        **{f"user_ctr_{d}d": _rate(past.count(d, "click"), len(past.impressions(d)), 0.05) for d in (7, 30, 90)},
        "user_cvr_90d": _rate(len(bought[90]), clicks, 0.05),
        "user_cart_rate_90d": _rate(past.count(90, "add_to_cart"), clicks, 0.1),
        "user_favorite_rate_90d": _rate(past.count(90, "favorite"), clicks, 0.05),
        "user_repeat_share_90d": 1 - len(_days(quarter)) / len(quarter) if len(quarter) else 0,
        "user_weekend_share_90d": _weekend(quarter),
        "user_days_since_event": past.since(None, 90),
        "user_days_since_click": past.since("click", 90),
        "user_days_since_purchase": past.since("purchase", 90),
        "user_mean_price_90d": quarter.price.mean() if len(quarter) else 0,
        "user_max_price_90d": quarter.price.max() if len(quarter) else 0,
        **{f"user_spend_{d}d": spend[d] for d in (30, 90)},
        "user_lifetime_value": (ever.price * ever.quantity).sum(),
        "user_order_value_90d": spend[90] / len(bought[90]) if len(bought[90]) else 0,
        "user_segment": _segment(past, len(bought[90])),
        **_affinities(quarter, weight),
        "user_daypart_share": [(quarter.timestamp.dt.hour // 6 == n).sum() / (len(quarter) + 1) for n in range(4)],
        "user_device_share": [(quarter.device == name).sum() / (len(quarter) + 1) for name in DEVICES],
    }


def item_row(tables: Tables, item_id: str, until: datetime, now: datetime) -> Row:
    """Features of one item from everything before `until`."""
    events = _past(tables["events"], "item_id", item_id, until)
    past = Past(events, _past(tables["impressions"], "item_id", item_id, until), until, now)
    month, quarter, shown = past.last(30), past.last(90), past.impressions(30)
    bought = past.last(30, "purchase")
    clicks = past.count(30, "click")
    first = events.groupby("user_id").timestamp.min()
    new = (first >= _midnight(until) - timedelta(days=30)).sum()
    item = tables["items"].set_index("item_id").loc[item_id]
    category = tables["items"][tables["items"].category == item.category]
    return {
        "item_price_in_category": item.price / category.price.mean(),
        "item_tags": len(item.tags),
        "item_title_words": len(item.title.split()),
        "item_days_since_created": max((now - item.created_at) / timedelta(days=1), 0),
        **{f"item_impressions_{d}d": len(past.impressions(d)) for d in (1, 7, 30)},
        "item_mean_position_30d": shown.position.mean() if len(shown) else 0,
        **{f"item_events_{d}d": past.count(d) for d in (1, 7, 30, 90)},
        **{f"item_views_{d}d": past.count(d, "view") for d in (7, 30, 90)},
        **{f"item_clicks_{d}d": past.count(d, "click") for d in (1, 7, 30, 90)},
        **{f"item_carts_{d}d": past.count(d, "add_to_cart") for d in (7, 30)},
        "item_favorites_30d": past.count(30, "favorite"),
        **{f"item_purchases_{d}d": past.count(d, "purchase") for d in (7, 30, 90)},
        "item_revenue_30d": (bought.price * bought.quantity).sum(),
        "item_unique_users": events.user_id.nunique(),
        **{f"item_user_days_{d}d": len(_days(past.last(d))) for d in (7, 30)},
        "item_days_since_event": past.since(None, 365),
        "item_ctr_7d": _rate(past.count(7, "click"), len(past.impressions(7)), 0.05),
        "item_ctr_30d": _rate(clicks, len(shown), 0.05),
        "item_cvr_30d": _rate(len(bought), clicks, 0.05),
        "item_cvr_90d": _rate(past.count(90, "purchase"), past.count(90, "click"), 0.05),
        "item_cart_rate_30d": _rate(past.count(30, "add_to_cart"), clicks, 0.1),
        "item_favorite_rate_30d": _rate(past.count(30, "favorite"), clicks, 0.05),
        "item_trending": len(month) / (len(events) + 1),
        "item_momentum": past.count(7) / (len(month) + 1),
        "item_new_user_share": new / (len(_days(month)) + 1),
        "item_mobile_share_90d": (quarter.device == "mobile").mean() if len(quarter) else 0,
        "item_weekend_share_90d": _weekend(quarter),
        "item_daypart_share": [(quarter.timestamp.dt.hour // 6 == n).mean() if len(quarter) else 0 for n in range(4)],
    }


def history(tables: Tables, user_id: str, until: datetime) -> list[int]:
    """The last 50 (item, day) pairs before `until`, latest first, each with its best grade."""
    past = _past(tables["events"], "user_id", user_id, until)
    grades = past.event_type.map(WEIGHTS)
    days = past.assign(day=past.timestamp.dt.date, grade=grades).groupby(["item_id", "day"], as_index=False)
    rows = days.agg(last=("timestamp", "max"), grade=("grade", "max")).sort_values(["day", "last", "item_id"])
    entries = [history_entry(item_key(row.item_id), row.grade) for row in rows.itertuples()]
    return entries[-50:][::-1]


def _past(table: pd.DataFrame, key: str, value: str, until: datetime) -> pd.DataFrame:
    return table[(table[key] == value) & (table.timestamp < until)]


def _midnight(until: datetime) -> pd.Timestamp:
    moment = pd.Timestamp(until)
    return moment.ceil("D") if moment.microsecond == 0 else moment.floor("D")


def _days(events: pd.DataFrame) -> pd.DataFrame:
    return events.assign(day=events.timestamp.dt.date)[["user_id", "item_id", "day"]].drop_duplicates()


def _sessions(month: pd.DataFrame) -> Row:
    """Sessions count on each day they touch; their length in whole seconds."""
    seconds = month.assign(day=month.timestamp.dt.date, second=month.timestamp.dt.floor("s"))
    spans = seconds.groupby(["session_id", "day"]).second.agg(["min", "max", "count"])
    length = (spans["max"] - spans["min"]).dt.total_seconds().sum()
    return {
        "user_sessions_30d": len(spans),
        "user_session_minutes_30d": length / len(spans) / 60 if len(spans) else 0,
        "user_session_events_30d": len(month) / len(spans) if len(spans) else 0,
    }


def _segment(past: Past, purchases: int) -> int:
    if purchases:
        return 4 if purchases >= 3 else 3
    if past.count(30):
        return 2
    return 1 if len(past.events) else 0


def _rate(successes: int, trials: int, prior: float) -> float:
    return (successes + 20 * prior) / (trials + 20)


def _weekend(events: pd.DataFrame) -> float:
    return (events.timestamp.dt.dayofweek >= 5).mean() if len(events) else 0


def _coded(items: pd.DataFrame, vocabulary: Row) -> pd.DataFrame:
    def code(names: list[str], column: pd.Series) -> pd.Series:
        return column.map({name: n for n, name in enumerate(names, 1)}).fillna(0).astype(int)

    edges = np.array(vocabulary["price_edges"])
    band = [0 if pd.isna(price) else 1 + int((price > edges).sum()) for price in items.price]
    codes = {"category": code(vocabulary["categories"], items.category),
             "brand": code(vocabulary["brands"], items.brand), "price_band": band}  # fmt: skip
    return items[["item_id"]].assign(**codes)


def _affinities(quarter: pd.DataFrame, total: float) -> Row:
    row: Row = {}
    for name, vector, width in (("category", "category", 32), ("brand", "brand", 32), ("price_band", "price", 8)):
        weights = quarter.event_type.map(WEIGHTS).groupby(quarter[name]).sum().reindex(range(width), fill_value=0)
        row[f"user_{vector}_affinity"] = (weights / (total + 1)).to_list()
        row[f"user_top_{name}"] = int(weights[1:].idxmax()) if weights[1:].max() > 0 else 0
        if name != "price_band":
            plural = {"category": "categories", "brand": "brands"}[name]
            row[f"user_{plural}_90d"] = int((weights[1:] > 0).sum())
        if name == "category":
            row["user_top_category_share"] = weights[1:].max() / (total + 1)
    return row
