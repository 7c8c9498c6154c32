"""The most active users, found while all rows pass by. Warming asks for them: they are who will come next."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from feature_repo.rows import MOST_ACTIVE

ACTIVITY = "user_events_7d"


class MostActive:
    """The `most` users with the most events, in bounded memory. Who did nothing is not among them."""

    def __init__(self, most: int = MOST_ACTIVE) -> None:
        self._most = most
        self._ids: list[str] = []
        self._events: npt.NDArray[np.floating] = np.empty(0, np.float32)

    def add(self, user_ids: Sequence[str], events: npt.NDArray[np.floating]) -> None:
        """Users and their events [n]; a non-finite count is none."""
        known = [*self._ids, *user_ids]
        counts = np.concatenate([self._events, np.nan_to_num(events, nan=0.0, posinf=0.0, neginf=0.0)])
        order = np.argsort(-counts, kind="stable")[: self._most]
        order = order[counts[order] > 0]
        self._ids, self._events = [known[i] for i in order], counts[order]

    def ids(self) -> list[str]:
        """The most active first."""
        return list(self._ids)
