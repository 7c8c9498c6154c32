"""Whether an answer is of one release only: the one that it names.

Every id must carry that release's stamp, and at least half of a full answer must lie among the user's nearest items
in that release's space. A user embedding of the other line finds near-random items, of which a few in a hundred would.
"""

from dataclasses import dataclass

import numpy as np
import orjson

from deploy.settings import Settings
from exporters.exact import ExactSearch
from exporters.generation import Source
from feature_repo.rows import unpack_user_row
from feature_repo.vectors import Floats, Ints
from perf.load.answer import UNDEGRADED, Answer
from perf.swap.pair import STAMPS
from perf.users import packed_rows
from training.lines import Line
from training.matrices import Graphs

NEAREST = 2000  # 500 candidates are the nearest that may be sold to the user
PART = 4  # of a small catalogue a quarter: more would hold half of any answer
LEAST = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """Of each user (by number), the rows of the nearest items in one release, ascending: [u, k]."""

    rows: Ints

    def share(self, user: int, rows: Ints) -> float:
        """How many of these rows are among the user's."""
        nearest = self.rows[user]
        found = nearest[np.minimum(np.searchsorted(nearest, rows), len(nearest) - 1)] == rows
        return float(found.mean()) if len(rows) else 1.0


class Checker:
    """`check(user number, what the answer says of itself, body)`, for `perf.load.Target`."""

    def __init__(self, nearest: dict[int, Nearest]) -> None:
        self._nearest = nearest

    def __call__(self, user: int, answer: Answer, body: bytes) -> bool:
        release = int(answer.release)
        ids = [item["item_id"] for item in orjson.loads(body)["items"]]
        if release not in self._nearest or any(not item_id.startswith(STAMPS[release]) for item_id in ids):
            return False
        rows = np.array([int(item_id[len(STAMPS[release]) :]) for item_id in ids], np.int64)
        return answer.level not in UNDEGRADED or self._nearest[release].share(user, rows) >= LEAST


def user_rows(settings: Settings, count: int) -> Floats:
    """Features [count, USER_WIDTH] of the first made-up users (`perf.users`)."""
    packed = packed_rows(settings)
    return np.stack([unpack_user_row(packed[number % len(packed)]).values for number in range(count)])


def nearest(line: Line, source: Source, users: Floats) -> Nearest:
    """Exact search of the source for users [u, USER_WIDTH], by the line's own user tower."""
    k = min(NEAREST, source.items // PART)
    exact, first = ExactSearch(Graphs(line.folder).embed_users(users), k), 0
    for table, vectors in source.chunks():
        exact.add(vectors, first)
        first += len(table)
    return Nearest(rows=np.sort(exact.top(k), axis=1))
