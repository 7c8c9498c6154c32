"""Last.FM (HetRec 2011): `user_artists.dat.gz`, how often each user played each of up to 50 artists, with `kg.txt.gz`
and `item_index2entity_id.txt.gz`, what a knowledge graph says of 3,846 of the artists.

There are no times and no order, so the times are ours: each (user, artist) stands at a moment of 90 days that is a hash
of the two. A split by time is therefore a random one and says nothing about the future; recency and trend carry no
signal. An artist played at least as often as the user's median is a favorite, else a click; quantity is the plays.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from training.adapters.canonical import SCHEMAS, table
from training.adapters.read import read_csv, require, seconds
from training.adapters.source import Source, Windows

END = datetime(2011, 5, 1, tzinfo=UTC)
SPAN = 90  # days

SOURCE = Source(
    name="lastfm",
    has_impressions=False,
    windows=Windows(train=SPAN, validation=9, test=9),
    as_of=END,
    absent=("events.session_id", "events.request_id", "events.device", "events.country", "events.price",
            "items.category", "items.created_at", "items.title", "items.brand", "items.price", "items.rating",
            "users.signup_at", "users.age", "users.gender", "users.country", "users.tier"),
    notes="plays at or above the user's median favorite, else click; quantity = plays; times are synthetic: a hash of "
          "user and artist within 90 days before 2011-05-01, so the time split is a random one",
)  # fmt: skip


def read(folder: Path | None) -> tuple[Source, Mapping[str, pa.Table]]:
    """The canonical tables of the folder. Raises DataError."""
    events = _events(require(folder, "user_artists.dat.gz"))
    tags = _tags(require(folder, "kg.txt.gz"), require(folder, "item_index2entity_id.txt.gz"))
    users = events.group_by("user_id").aggregate([]).sort_by("user_id")
    return SOURCE, {"events": events, "items": _items(events, tags), "users": table(SCHEMAS["users"], {
        "user_id": users["user_id"],
    }, users.num_rows)}  # fmt: skip


def _events(path: Path) -> pa.Table:
    plays = read_csv(path, ("userID", "artistID", "weight"), delimiter="\t")
    user, artist, count = (seconds(path, name, plays[name]) for name in plays.column_names)
    usual = pd.Series(count).groupby(user).transform("median").to_numpy()
    columns = {
        "user_id": plays["userID"],
        "item_id": plays["artistID"],
        "event_type": np.where(count >= usual, "favorite", "click"),
        "timestamp": _moments(user, artist),
        "quantity": pa.array(count),
    }
    return table(SCHEMAS["events"], columns, plays.num_rows)


def _moments(user: npt.NDArray[np.int64], artist: npt.NDArray[np.int64]) -> npt.NDArray[np.datetime64]:
    """A second of the span for each pair by splitmix64's finaliser: [rows]."""
    z = (user.astype(np.uint64) << np.uint64(32)) + artist.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    before = ((z ^ (z >> np.uint64(31))) % np.uint64(SPAN * 86_400)).astype(np.int64)
    end = np.datetime64(END.replace(tzinfo=None), "us")
    return np.asarray(end - before.astype("timedelta64[s]"), "datetime64[us]")


def _tags(triples: Path, entities: Path) -> pd.Series:
    """`relation:entity` of every artist the graph knows, by artist id."""
    graph = read_csv(triples, None, delimiter="\t", names=("head", "relation", "tail")).to_pandas()
    artists = read_csv(entities, None, delimiter="\t", names=("artist", "head")).to_pandas()
    known = graph.merge(artists, on="head")
    tags: pd.Series = (known["relation"] + ":" + known["tail"]).groupby(known["artist"]).agg(list)
    return tags


def _items(events: pa.Table, tags: pd.Series) -> pa.Table:
    artists = events.group_by("item_id").aggregate([]).sort_by("item_id")["item_id"]
    by_artist = tags.to_dict()
    columns = {"item_id": artists, "tags": [by_artist.get(artist) for artist in artists.to_pylist()]}
    return table(SCHEMAS["items"], columns, len(artists))
