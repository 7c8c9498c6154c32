"""MovieLens 100K: `ratings_original_order.csv.gz`, `users.csv.gz`, `items.csv.gz`.

The mapping is ours: rating 1–2 → view, 3 → click, 4 → favorite, 5 → purchase. A release date can lie after the
first rating, so `created_at` is the earlier of the two. The category is the first genre, tags are all genres.
Each user rates in one short burst over seven months, so the two held-out windows are 14 days and training takes
the rest.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from training.adapters.canonical import SCHEMAS, TIMESTAMP, table
from training.adapters.read import convert, read_csv, require, seconds
from training.adapters.source import Source, Windows
from training.errors import DataError

SOURCE = Source(
    name="movielens",
    has_impressions=False,
    windows=Windows(train=217, validation=14, test=14),
    absent=("events.session_id", "events.request_id", "events.device", "events.country", "events.price",
            "items.brand", "items.price", "items.rating", "users.signup_at", "users.country", "users.tier"),
    notes="rating 1-2 view, 3 click, 4 favorite, 5 purchase; created_at = min(release date, first rating)",
)  # fmt: skip

EVENT_OF_RATING = {1: "view", 2: "view", 3: "click", 4: "favorite", 5: "purchase"}
GENDERS = {"M": "male", "F": "female"}
GENRES = ("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
          "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War",
          "Western")  # fmt: skip


def read(folder: Path | None) -> tuple[Source, Mapping[str, pa.Table]]:
    """The canonical tables of the folder. Raises DataError."""
    events = _events(require(folder, "ratings_original_order.csv.gz"))
    items = _items(require(folder, "items.csv.gz"), events)
    users = _users(require(folder, "users.csv.gz"))
    return SOURCE, {"events": events, "items": items, "users": users}


def _events(path: Path) -> pa.Table:
    ratings = read_csv(path, ("user_id", "item_id", "rating", "timestamp"))
    stars = seconds(path, "rating", ratings["rating"])
    wrong = ~np.isin(stars, list(EVENT_OF_RATING))
    if wrong.any():
        raise DataError(f"{path}: column rating: {wrong.sum()} of {len(stars)} rows are not 1 to 5")
    columns = {
        "user_id": ratings["user_id"],
        "item_id": ratings["item_id"],
        "event_type": [EVENT_OF_RATING[int(s)] for s in stars],
        "timestamp": convert(path, "timestamp", ratings["timestamp"], TIMESTAMP),
    }
    return table(SCHEMAS["events"], columns, len(stars))


def _items(path: Path, events: pa.Table) -> pa.Table:
    movies = read_csv(path, ("movie_id", "movie_title", "release_date", *GENRES))
    flags = np.stack([seconds(path, genre, movies[genre]) for genre in GENRES], axis=1) > 0
    columns = {
        "item_id": movies["movie_id"],
        "category": _first_genre(flags),
        "created_at": _created_at(path, movies, events),
        "title": movies["movie_title"],
        "tags": [[genre for genre, has in zip(GENRES, row, strict=True) if has] for row in flags],
    }
    return table(SCHEMAS["items"], columns, movies.num_rows)


def _first_genre(flags: npt.NDArray[np.bool_]) -> list[str | None]:
    return [GENRES[int(row.argmax())] if row.any() else None for row in flags]


def _created_at(path: Path, movies: pa.Table, events: pa.Table) -> pa.Array:
    text = movies["release_date"].to_pandas()
    released = pd.to_datetime(text, format="%d-%b-%Y", utc=True, errors="coerce")
    wrong = released.isna() & text.notna()
    if wrong.any():
        raise DataError(f"{path}: column release_date: {wrong.sum()} of {len(text)} rows are not like 01-Jan-1995")
    first = events.group_by("item_id").aggregate([("timestamp", "min")]).to_pydict()
    by_item = dict(zip(first["item_id"], first["timestamp_min"], strict=True))
    rated = pa.array([by_item.get(movie) for movie in movies["movie_id"].to_pylist()], TIMESTAMP)
    moments = [array.cast(TIMESTAMP).cast(pa.int64()) for array in (pa.Array.from_pandas(released), rated)]
    return pc.min_element_wise(*moments).cast(TIMESTAMP)


def _users(path: Path) -> pa.Table:
    people = read_csv(path, ("user_id", "age", "gender"))
    columns = {
        "user_id": people["user_id"],
        "age": convert(path, "age", people["age"], pa.int32()),
        "gender": [GENDERS.get(value) for value in people["gender"].to_pylist()],
    }
    return table(SCHEMAS["users"], columns, people.num_rows)
