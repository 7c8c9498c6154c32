"""What training would have given each request: its snapshot, history and context, from the offline store and the log.

The snapshot is the latest that the offline store could have served at the moment of the request. The history is that
snapshot's, with what the log says the user did since in front (`feature_repo.recent`). The context is made of the
request's own words by training's code; where they are silent, country and language are the snapshot's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.context import context_arrays
from feature_repo.recent import MOST, Action, merged
from feature_repo.schema import HISTORY, SCHEMA, USER_WIDTH
from feature_repo.served import EVENT_TYPES
from feature_repo.vectors import USER_DEFAULTS, Floats, Ints, item_key
from training.dataset import Dataset
from training.served import parts
from training.skew.requests import Requests
from training.tables import moments, read

Flags = npt.NDArray[np.bool_]
WORDS = {  # of the request, and the context features made of them
    "device": ("context_device",),
    "os": ("context_system",),
    "country": ("context_country",),
    "language": ("context_language",),
    "time_zone": ("context_local_hour_sin", "context_local_hour_cos", "context_utc_offset"),
    "placement": ("context_placement",),
    "referrer": ("context_referrer",),
    "session_id": ("context_session_depth",),
}
ACTED = ("user_id", "item_id", "event_type", "timestamp", "received_at", "session_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Of n requests: rows [n, USER_WIDTH], histories [n, HISTORY], contexts [n, CONTEXT_WIDTH].

    `known`: whose user has a snapshot that could have been served; elsewhere rows and histories mean nothing. `stale`:
    who was served an earlier snapshot. `acted`: whose user did something between the snapshot and the request.
    """

    rows: Floats
    histories: Ints
    contexts: Floats
    known: Flags
    stale: Flags
    acted: Flags


def replay(dataset: Dataset, served: Path, requests: Requests) -> Replay:
    """What training would have given the requests."""
    places = _snapshots(dataset, requests)
    known = places >= 0
    rows = np.zeros((len(requests), USER_WIDTH), np.float32)
    rows[known] = dataset.users.rows[places[known]]
    since = _computed_at(dataset)[places]
    first = min([*since[known].astype("datetime64[us]"), *requests.at])
    actions = _Actions.read(served, requests, _day(first) - timedelta(days=1))
    lately = [actions.before(n, requests) for n in range(len(requests))]
    histories = np.zeros((len(requests), HISTORY), np.int64)
    for n in np.flatnonzero(known):
        histories[n] = merged(dataset.histories[places[n]], lately[n], int(since[n]))
    return Replay(
        rows=rows,
        histories=histories,
        contexts=_contexts(requests, rows, known, [actions.depth(n, requests) for n in range(len(requests))]),
        known=known,
        stale=_stale(dataset, requests, places),
        acted=np.array([known[n] and any(a.at > since[n] for a in lately[n]) for n in range(len(requests))], bool),
    )


def _snapshots(dataset: Dataset, requests: Requests) -> Ints:
    """The row of the latest snapshot at each request [n]; -1 where there is none, or the user was nobody."""
    index = dataset.users.index
    offline = pd.DataFrame({"user": index.get_level_values(0), "at": index.get_level_values(1).to_numpy()})
    offline["row"] = np.arange(len(offline))
    asked = pd.DataFrame({"user": requests.users, "at": requests.at})
    asked["place"] = np.arange(len(asked))
    found = pd.merge_asof(asked.sort_values("at"), offline.sort_values("at"), on="at", by="user").set_index("place")
    places = found["row"].reindex(np.arange(len(asked))).fillna(-1).to_numpy(np.int64)
    return np.where(requests.cold, -1, places)


def _computed_at(dataset: Dataset) -> Ints:
    """When each user snapshot was computed, as its packed row says it: whole seconds, in unix µs."""
    column = read(dataset.folder / "user_snapshots", ["created_timestamp"])["created_timestamp"]
    return moments(column).astype("datetime64[s]").astype(np.int64) * 1_000_000


def _stale(dataset: Dataset, requests: Requests, places: Ints) -> Flags:
    """Whether a request was served an earlier snapshot than it should have been, bit by bit."""
    at = dataset.users.index.get_level_values(1).to_numpy()
    differing = [n for n, row in enumerate(places) if row >= 0 and (requests.rows[n] != dataset.users.rows[row]).any()]
    stale = np.zeros(len(requests), bool)
    wanted = pd.Series(dataset.users.ids)
    by_user = wanted[wanted.isin(requests.users[differing])].groupby(wanted).groups
    for n in differing:
        rows = np.asarray(by_user[requests.users[n]])
        earlier = rows[at[rows] < at[places[n]]]
        stale[n] = (dataset.users.rows[earlier] == requests.rows[n]).all(axis=1).any()
    return stale


def _contexts(requests: Requests, rows: Floats, known: Flags, depths: Sequence[int]) -> Floats:
    words = {name: np.array([said.get(name) for said in requests.said], object) for name in WORDS}
    contexts = context_arrays(
        requests.at, device=words["device"], system=words["os"], country=words["country"], language=words["language"],
        time_zone=words["time_zone"], placement=words["placement"], referrer=words["referrer"],
        session_depth=depths, position=0,
    )  # fmt: skip
    homes = np.where(known[:, None], rows, USER_DEFAULTS)
    for name in ("country", "language"):
        silent = pd.isna(words[name])
        contexts[silent, SCHEMA.offset(f"context_{name}")] = homes[silent, SCHEMA.offset(f"user_{name}")]
    return contexts


def unsaid(requests: Requests) -> Mapping[str, Flags]:
    """Context features that cannot be made again of a request, because the log lacks its words: [n] by name."""
    return {
        feature: np.array([word not in said for said in requests.said], bool)
        for word, features in WORDS.items()
        for feature in features
    }


@dataclass(frozen=True, slots=True)
class _Actions:
    """What the requests' users did by the log: rows of `ACTED` by user, in the order in which they came in."""

    by_user: Mapping[str, pd.DataFrame]

    @classmethod
    def read(cls, served: Path, requests: Requests, first: date) -> "_Actions":
        """Those since the day `first`."""
        users = pa.array(sorted(set(requests.users)), pa.string())
        last = _day(requests.at.max()) + timedelta(days=1)
        places = [place for day, place in parts.days(served, "events").items() if first <= day <= last]
        tables = [parts.read(path, list(ACTED)) for place in places for path in parts.files(place)]
        if not tables:
            return cls({})
        frame = pa.concat_tables([t.filter(pc.is_in(t["user_id"], users)) for t in tables]).to_pandas()
        frame["received_at"] = frame["received_at"].fillna(frame["timestamp"])
        frame = frame.sort_values("received_at", kind="stable")
        return cls({str(user): rows for user, rows in frame.groupby("user_id")})

    def before(self, n: int, requests: Requests) -> list[Action]:
        """The user's latest actions of those that had come in when request n did."""
        rows = self._known_at(n, requests)
        if rows is None:
            return []
        rows = rows.iloc[-MOST:]
        at = rows["timestamp"].astype("datetime64[us, UTC]").astype("int64")
        acted = zip(at, rows["item_id"], rows["event_type"], strict=True)
        return [Action(int(when), item_key(item), 0, EVENT_TYPES.index(kind)) for when, item, kind in acted]

    def depth(self, n: int, requests: Requests) -> int:
        """Events of the request's session that had come in."""
        session, rows = requests.said[n].get("session_id"), self._known_at(n, requests)
        return 0 if rows is None or session is None else int((rows["session_id"] == session).sum())

    def _known_at(self, n: int, requests: Requests) -> pd.DataFrame | None:
        rows = self.by_user.get(requests.users[n])
        return None if rows is None else rows[rows["received_at"] <= pd.Timestamp(requests.at[n], tz="UTC")]


def _day(moment: np.datetime64) -> date:
    return pd.Timestamp(moment).date()
