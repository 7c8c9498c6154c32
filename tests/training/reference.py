"""Features recomputed one key and one day at a time in plain pandas, to hold against what Spark computed at once."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

WEIGHTS = {"view": 1, "click": 1, "add_to_cart": 2, "favorite": 2, "purchase": 3}
Tables = dict[str, pd.DataFrame]
Row = dict[str, Any]


def moments(event_timestamp: datetime, as_of: datetime) -> tuple[datetime, datetime]:
    """(events before this count, ages are taken at this) of the snapshot with the given event timestamp."""
    if event_timestamp == as_of:
        return as_of + timedelta(microseconds=1), as_of
    day = event_timestamp - timedelta(hours=1)
    return day, day


def user_row(tables: Tables, vocabulary: Row, user_id: str, until: datetime, now: datetime) -> Row:
    """Features of one user from everything before `until`."""
    past = _past(tables["events"], "user_id", user_id, until).merge(_coded(tables["items"], vocabulary), on="item_id")
    shown = _last(_past(tables["impressions"], "user_id", user_id, until), until, 30)
    month, quarter = _last(past, until, 30), _last(past, until, 90)
    weight = quarter.event_type.map(WEIGHTS).sum()
    clicks = (month.event_type == "click").sum()
    bought = quarter[quarter.event_type == "purchase"]
    signup = tables["users"].set_index("user_id").signup_at[user_id]
    return {
        "user_days_since_signup": max((now - signup) / timedelta(days=1), 0),
        "user_impressions_30d": len(shown),
        "user_events_7d": len(_last(past, until, 7)),
        "user_views_30d": (month.event_type == "view").sum(),
        "user_clicks_30d": clicks,
        "user_carts_90d": (quarter.event_type == "add_to_cart").sum(),
        "user_ctr_30d": (clicks + 1) / (len(shown) + 20),
        "user_cvr_90d": (len(bought) + 1) / ((quarter.event_type == "click").sum() + 20),
        "user_days_since_event": min((now - past.timestamp.max()) / timedelta(days=1), 365) if len(past) else 365,
        "user_mean_price_90d": quarter.price.mean() if len(quarter) else 0,
        "user_spend_90d": (bought.price * bought.quantity).sum(),
        "user_unique_items": past.item_id.nunique(),
        "user_active_days_30d": month.timestamp.dt.date.nunique(),
        "user_category_affinity": _affinity(quarter, "category_code", 32, weight),
        "user_brand_affinity": _affinity(quarter, "brand_code", 32, weight),
        "user_price_affinity": _affinity(quarter, "band", 8, weight),
    }


def item_row(tables: Tables, item_id: str, until: datetime, now: datetime) -> Row:
    """Features of one item from everything before `until`."""
    past = _past(tables["events"], "item_id", item_id, until)
    shown = _last(_past(tables["impressions"], "item_id", item_id, until), until, 30)
    month = _last(past, until, 30)
    clicks, bought = (month.event_type == "click").sum(), (month.event_type == "purchase").sum()
    created = tables["items"].set_index("item_id").created_at[item_id]
    return {
        "item_days_since_created": max((now - created) / timedelta(days=1), 0),
        "item_impressions_30d": len(shown),
        "item_views_30d": (month.event_type == "view").sum(),
        "item_clicks_7d": (_last(past, until, 7).event_type == "click").sum(),
        "item_clicks_30d": clicks,
        "item_purchases_30d": bought,
        "item_events_1d": len(_last(past, until, 1)),
        "item_events_30d": len(month),
        "item_ctr_30d": (clicks + 1) / (len(shown) + 20),
        "item_cvr_30d": (bought + 1) / (clicks + 20),
        "item_unique_users": past.user_id.nunique(),
        "item_trending": len(month) / (len(past) + 1),
    }


def _past(table: pd.DataFrame, key: str, value: str, until: datetime) -> pd.DataFrame:
    return table[(table[key] == value) & (table.timestamp < until)]


def _last(past: pd.DataFrame, until: datetime, days: int) -> pd.DataFrame:
    """The last days before the next midnight at or after `until`: windows are whole days."""
    midnight = pd.Timestamp(until).ceil("D") if pd.Timestamp(until).microsecond == 0 else pd.Timestamp(until).floor("D")
    return past[past.timestamp >= midnight - timedelta(days=days)]


def _coded(items: pd.DataFrame, vocabulary: Row) -> pd.DataFrame:
    def code(names: list[str], column: pd.Series) -> pd.Series:
        return column.map({name: n for n, name in enumerate(names, 1)}).fillna(0).astype(int)

    edges = np.array(vocabulary["price_edges"])
    band = [0 if pd.isna(price) else 1 + int((price > edges).sum()) for price in items.price]
    codes = {"category_code": code(vocabulary["categories"], items.category),
             "brand_code": code(vocabulary["brands"], items.brand), "band": band}  # fmt: skip
    return items[["item_id"]].assign(**codes)


def _affinity(actions: pd.DataFrame, column: str, width: int, total: float) -> list[float]:
    weights = actions.event_type.map(WEIGHTS).groupby(actions[column]).sum()
    return [weights.get(code, 0) / (total + 1) for code in range(width)]
