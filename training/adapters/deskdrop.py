"""CI&T Deskdrop: `users_interactions.csv.gz`, the log of an internal news platform.

The mapping is ours: VIEW → view, FOLLOW → click, LIKE → favorite, BOOKMARK → add_to_cart, COMMENT CREATED →
purchase. An item is created at its first event. Users and items are those of the log; nothing else is known of them.
"""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from training.adapters.canonical import SCHEMAS, TIMESTAMP, table
from training.adapters.read import convert, read_csv, require
from training.adapters.source import Source, Windows
from training.errors import DataError

SOURCE = Source(
    name="deskdrop",
    has_impressions=False,
    windows=Windows(train=352, validation=14, test=14),
    absent=("events.request_id", "events.price", "items.category", "items.brand", "items.price", "items.title",
            "items.rating", "users.signup_at", "users.age", "users.gender", "users.country", "users.tier"),
    notes="VIEW view, FOLLOW click, LIKE favorite, BOOKMARK add_to_cart, COMMENT CREATED purchase",
)  # fmt: skip

EVENT_OF_TYPE = {
    "VIEW": "view",
    "FOLLOW": "click",
    "LIKE": "favorite",
    "BOOKMARK": "add_to_cart",
    "COMMENT CREATED": "purchase",
}
COLUMNS = ("timestamp", "eventType", "contentId", "personId", "sessionId", "userAgent", "userCountry")
MOBILE = "Android|iPhone|iPad|Mobile|iOS"


def read(folder: Path | None) -> tuple[Source, Mapping[str, pa.Table]]:
    """The canonical tables of the folder. Raises DataError."""
    events = _events(require(folder, "users_interactions.csv.gz"))
    return SOURCE, {"events": events, "items": _items(events), "users": _users(events)}


def _events(path: Path) -> pa.Table:
    log = read_csv(path, COLUMNS)
    columns = {
        "user_id": log["personId"],
        "item_id": log["contentId"],
        "event_type": _event_types(path, log["eventType"]),
        "timestamp": convert(path, "timestamp", log["timestamp"], TIMESTAMP),
        "session_id": log["sessionId"],
        "device": _devices(log["userAgent"]),
        "country": log["userCountry"],
    }
    return table(SCHEMAS["events"], columns, log.num_rows)


def _event_types(path: Path, column: pa.ChunkedArray) -> list[str]:
    names: list[str] = column.to_pylist()
    unknown = [name for name in names if name not in EVENT_OF_TYPE]
    if unknown:
        raise DataError(
            f"{path}: column eventType: {len(unknown)} of {len(names)} rows are none of "
            f"{', '.join(EVENT_OF_TYPE)}, first {unknown[0]!r}"
        )
    return [EVENT_OF_TYPE[name] for name in names]


def _devices(agents: pa.ChunkedArray) -> pa.ChunkedArray:
    mobile = pc.match_substring_regex(agents, MOBILE)
    return pc.if_else(mobile, "mobile", "desktop")


def _items(events: pa.Table) -> pa.Table:
    first = events.group_by("item_id").aggregate([("timestamp", "min")]).sort_by("item_id")
    columns = {"item_id": first["item_id"], "created_at": first["timestamp_min"]}
    return table(SCHEMAS["items"], columns, first.num_rows)


def _users(events: pa.Table) -> pa.Table:
    people = events.group_by("user_id").aggregate([]).sort_by("user_id")
    return table(SCHEMAS["users"], {"user_id": people["user_id"]}, people.num_rows)
