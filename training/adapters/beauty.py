"""Amazon Beauty 5-core as published with S3-Rec: `Beauty.txt.gz` (`user item item …`, in order of time) and
`Beauty_item2attributes.json.gz`.

The sequences carry no times, so the times are ours: a user's last item stands at noon UTC of one fixed day, the same
for all users, and each earlier one a day before the next. The one-day windows thus are the published leave-one-out
split: last item test, second last validation. Order within a user is real; what happens between users at a moment is
not. A review is read as a purchase. Tags are the item's attributes, the category is the one that most items have.
"""

import gzip
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from training.adapters.canonical import SCHEMAS, table
from training.adapters.read import require
from training.adapters.source import Source, Windows
from training.errors import DataError

LAST = np.datetime64("2014-07-23T12:00:00", "us")
DAY = np.timedelta64(1, "D")

SOURCE = Source(
    name="beauty",
    has_impressions=False,
    windows=Windows(train=205, validation=1, test=1),  # the longest sequence has 204 items
    as_of=datetime(2014, 7, 23, 18, tzinfo=UTC),
    absent=("events.session_id", "events.request_id", "events.device", "events.country", "events.price",
            "items.title", "items.brand", "items.price", "items.rating", "users.signup_at", "users.age",
            "users.gender", "users.country", "users.tier"),
    notes="review purchase; times are synthetic: a day for each step, every user's last item at 2014-07-23 12:00 UTC, "
          "so only the order within a user is real; category = the item's most common attribute",
)  # fmt: skip


def read(folder: Path | None) -> tuple[Source, Mapping[str, pa.Table]]:
    """The canonical tables of the folder. Raises DataError."""
    users, sequences = _sequences(require(folder, "Beauty.txt.gz"))
    events = _events(users, sequences)
    items = _items(events, _attributes(require(folder, "Beauty_item2attributes.json.gz")))
    return SOURCE, {"events": events, "items": items, "users": table(SCHEMAS["users"], {"user_id": users}, len(users))}


def _sequences(path: Path) -> tuple[list[str], list[list[str]]]:
    """Users and, for each, the items in order."""
    lines = [line.split() for line in _text(path).splitlines()]
    short = [n for n, line in enumerate(lines) if len(line) < 2]
    if short:
        raise DataError(f"{path}: {len(short)} of {len(lines)} rows are not `user item item …`, first: {short[0] + 1}")
    return [line[0] for line in lines], [line[1:] for line in lines]


def _attributes(path: Path) -> dict[str, list[str]]:
    try:
        stored = orjson.loads(_text(path))
        return {str(item): [str(one) for one in attributes] for item, attributes in stored.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not an object of item: [attributes]: {error}") from None


def _text(path: Path) -> str:
    try:
        return gzip.decompress(path.read_bytes()).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _events(users: Sequence[str], sequences: Sequence[Sequence[str]]) -> pa.Table:
    lengths = np.asarray([len(sequence) for sequence in sequences])
    to_go = np.repeat(np.cumsum(lengths), lengths) - np.arange(lengths.sum()) - 1  # steps until the user's last item
    columns = {
        "user_id": np.repeat(np.asarray(users, object), lengths),
        "item_id": [item for sequence in sequences for item in sequence],
        "event_type": pa.repeat("purchase", int(lengths.sum())),
        "timestamp": LAST - to_go * DAY,
    }
    return table(SCHEMAS["events"], columns, int(lengths.sum()))


def _items(events: pa.Table, attributes: Mapping[str, Sequence[str]]) -> pa.Table:
    first = events.group_by("item_id").aggregate([("timestamp", "min")]).sort_by("item_id")
    tags = [list(attributes.get(item, ())) for item in first["item_id"].to_pylist()]
    spread = Counter(tag for row in tags for tag in row)
    columns = {
        "item_id": first["item_id"],
        "category": [max(row, key=lambda tag: (spread[tag], tag), default=None) for row in tags],
        "created_at": first["timestamp_min"],
        "tags": tags,
    }
    return table(SCHEMAS["items"], columns, first.num_rows)
