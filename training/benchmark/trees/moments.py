"""What a log says of items and of a user right before a moment: popularity over windows, age, what is alike.

`Clock` walks the log in order of time and never knows an event at or after the moment it stands at.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feature_repo.vectors import Floats, Ints

HOUR = 3600
HOURS = (1, 3, 6, 12, 24, 48, 168, 720)
DECAYS = (1, 3, 6, 12, 24)
DAY = HOURS.index(24)
FEATURES = (
    *(f"users_{hours}h" for hours in HOURS), "users", "events_24h", "events_168h",
    *(f"decayed_{hours}h" for hours in DECAYS), "age", "idle", "idle_rank", "newer_than_visit", "share_24h",
    "alike_users", "after_last", "place", "user_items", "user_idle",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Events:
    """A log in order of time: user, item, moment (unix seconds) and place (a small number) of every event."""

    user: Ints
    item: Ints
    moment: Ints
    place: Ints
    users: int
    items: int

    @cached_property
    def new(self) -> Ints:
        """Events that are the first of their user with their item."""
        _, first = np.unique(self.user * self.items + self.item, return_index=True)
        return np.sort(first)

    def __getitem__(self, rows: Ints) -> "Events":
        columns = {name: getattr(self, name)[rows] for name in ("user", "item", "moment", "place")}
        return Events(**columns, users=self.users, items=self.items)


class Clock:
    """State of the log right before a moment that only moves forward."""

    def __init__(self, events: Events) -> None:
        self.events, self.first_time = events, events[events.new]
        self.now = self._all = self._new = 0
        self._seen = np.zeros((events.items, events.users), np.float32)
        self._born = np.full(events.items, np.inf)
        self._latest, self._visit = np.full(events.items, -np.inf), np.full(events.users, -np.inf)
        places = int(events.place.max(initial=0)) + 1
        self._item_place = np.full((events.items, places), 0.1, np.float32)
        self._user_place = np.full((events.users, places), 0.1, np.float32)
        self._last_item = np.full(events.users, -1)
        self._popularity, self._breadth = np.zeros(events.items, np.float32), np.zeros(events.users, np.float32)

    def to(self, moment: int) -> None:
        """Take in everything strictly before the moment. Raises ValueError for one that is past."""
        if moment < self.now:
            raise ValueError(f"moment {moment}: before {self.now}, which the clock has passed; ask in order of time")
        self.now = moment
        events, all_ = self.events, int(np.searchsorted(self.events.moment, moment))
        part = slice(self._all, all_)
        user, item, place = events.user[part], events.item[part], events.place[part]
        np.minimum.at(self._born, item, events.moment[part])
        self._latest[item], self._visit[user] = events.moment[part], events.moment[part]
        np.add.at(self._item_place, (item, place), 1.0)
        np.add.at(self._user_place, (user, place), 1.0)
        self._seen[item, user] = 1.0
        new = int(np.searchsorted(self.first_time.moment, moment))
        user, item = self.first_time.user[self._new : new], self.first_time.item[self._new : new]
        self._last_item[user] = item
        np.add.at(self._popularity, item, 1.0)
        np.add.at(self._breadth, user, 1.0)
        self._all, self._new = all_, new

    def unseen(self, user: int) -> Ints:
        """Items that there are and that the user has not had."""
        return np.flatnonzero((self._born < self.now) & (self._seen[:, user] == 0))

    def idle(self, items: Ints) -> Floats:
        """Hours since anything happened to the items."""
        return np.asarray((self.now - self._latest[items]) / HOUR, np.float32)

    def counts(self, hours: float = np.inf) -> Floats:
        """Users that came to each item for the first time in the last hours: [items]."""
        part = slice(int(np.searchsorted(self.first_time.moment, self.now - hours * HOUR)), self._new)
        return np.bincount(self.first_time.item[part], minlength=self.events.items).astype(np.float32)

    def decayed(self, hours: float) -> Floats:
        """The same, all of them, each weighing exp(−age/hours): [items]."""
        start = int(np.searchsorted(self.first_time.moment, self.now - 10 * hours * HOUR))
        part = slice(start, self._new)
        weights = np.exp((self.first_time.moment[part] - self.now) / (hours * HOUR))
        return np.bincount(self.first_time.item[part], weights, self.events.items).astype(np.float32)

    def features(self, user: int, items: Ints) -> Floats:
        """[items, FEATURES] for a user at the moment."""
        by_hours = [self.counts(hours) for hours in HOURS]
        unseen_latest = np.sort(-self._latest[self.unseen(user)])
        visit, idle = self._visit[user], self.idle(items)
        columns = [
            *(counts[items] for counts in by_hours),
            self._popularity[items],
            *(self._events(hours)[items] for hours in (24, 168)),
            *(self.decayed(hours)[items] for hours in DECAYS),
            (self.now - self._born[items]) / HOUR,
            idle,
            np.searchsorted(unseen_latest, -self._latest[items]),
            self._born[items] > visit,
            by_hours[DAY][items] / max(float(by_hours[DAY].sum()), 1.0),
            *self._company(user, items),
            np.full(len(items), self._breadth[user]),
            np.full(len(items), min((self.now - visit) / HOUR, 1e5)),
        ]
        return np.stack([np.asarray(column, np.float32) for column in columns], axis=1)

    def _events(self, hours: int) -> Floats:
        start = int(np.searchsorted(self.events.moment, self.now - hours * HOUR))
        return np.bincount(self.events.item[start : self._all], minlength=self.events.items).astype(np.float32)

    def _company(self, user: int, items: Ints) -> tuple[Floats, Floats, Floats]:
        """Users of the items that are alike, that had the user's last item, and that are where the user is."""
        seen, popularity = self._seen[items], np.sqrt(np.maximum(self._popularity[items], 1.0))
        had = np.flatnonzero(self._seen[:, user])
        alike = self._seen[had].sum(0) / np.sqrt(np.maximum(self._breadth, 1.0) * max(len(had), 1))
        alike[user] = 0.0
        last = self._last_item[user]
        after = seen @ self._seen[last] / popularity if last >= 0 else np.zeros(len(items))
        where = self._user_place[user] / self._user_place[user].sum()
        near = self._item_place[items] @ where / self._item_place[items].sum(1)
        return seen @ alike / popularity, np.asarray(after, np.float32), near
