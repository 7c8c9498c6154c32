"""Lists of candidates for visits: what was asked when, which items stage 1 finds, and what is known of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np

from feature_repo.vectors import Floats, Ints
from training.benchmark.protocol import Parameters
from training.benchmark.trees.boost import Rows, fit
from training.benchmark.trees.moments import Clock, Events

CANDIDATES = 80
DECAY = 48  # hours in which what a user counts for falls to 1/e, in stage 1; by recall on validation


@dataclass(frozen=True, slots=True, kw_only=True)
class Visits:
    """Who came when, in order of time; `target` is the item, where a model may know it."""

    user: Ints
    moment: Ints
    target: Ints | None = None

    def __len__(self) -> int:
        return len(self.user)

    @property
    def known(self) -> Ints:
        """The targets. Raises ValueError where a model may not know them."""
        if self.target is None:
            raise ValueError("visits: their targets are not known")
        return self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """Candidates of visits, row by row: number of the visit, item, features."""

    visit: Ints
    item: Ints
    matrix: Floats

    def labels(self, visits: Visits) -> Ints:
        """1 where the row's item is the visit's target."""
        return np.asarray(self.item == visits.known[self.visit], np.int64)


def lists(events: Events, visits: Visits, told: Callable[[int], None] = lambda _: None) -> Lists:
    """The candidates of each visit and their features, from what was before it."""
    clock, parts = Clock(events), []
    for number, (user, moment) in enumerate(zip(visits.user, visits.moment, strict=True)):
        clock.to(int(moment))
        items = candidates(clock, int(user))
        parts.append((np.full(len(items), number), items, clock.features(int(user), items)))
        told(number + 1)
    visit, item, matrix = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Lists(visit=visit, item=item, matrix=matrix)


def candidates(clock: Clock, user: int) -> Ints:
    """Stage 1: of the items the user has not had those that most came to lately, the fresher first where equal."""
    items = clock.unseen(user)
    score = clock.decayed(DECAY)[items]
    return np.sort(items[np.lexsort((clock.idle(items), -score))[:CANDIDATES]])


def learn(lessons: Sequence[tuple[Lists, Visits]], parameters: Parameters, seed: int) -> lgb.Booster:
    """The ranker of lists that hold their target."""
    parts = [_useful(found, visits) for found, visits in lessons]
    matrix, labels, sizes = (np.concatenate(column) for column in zip(*parts, strict=True))
    return fit(Rows(matrix=matrix, labels=labels, sizes=sizes), parameters, seed)


def _useful(found: Lists, visits: Visits) -> tuple[Floats, Ints, Ints]:
    """Features, labels and list sizes of the lists that hold their target."""
    labels = found.labels(visits)
    useful = np.isin(found.visit, found.visit[labels > 0])
    sizes = np.bincount(found.visit[useful], minlength=len(visits))
    return found.matrix[useful], labels[useful], np.asarray(sizes[sizes > 0], np.int64)


def table(found: Lists, scores: Floats, visits: int, items: int) -> Floats:
    """[visits, items], −∞ for what is no candidate."""
    result = np.full((visits, items), -np.inf, np.float32)
    result[found.visit, found.item] = scores
    return result
