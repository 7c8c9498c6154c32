"""Ranking items for users: the problem of a protocol that asks for it, and models of it.

A fitted model is a `Scorer`. The answer is a ranking [asked, k] of item numbers, −1 where there are no more items, or
scores [asked, items] where the judge alone may know between which items to decide.
Loaders number the items in a seeded random order: equal scores are ranked by number, and the order in which a file
names its items can tell what was held out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from feature_repo.vectors import Floats, Ints
from training.benchmark.protocol import Answer, Given, Judge, Model, Objective, Parameters, Report

CHUNK = 2048
Scorer = Callable[[Ints], Floats]  # users of the log it was fitted on [b] → scores of all items [b, items]


@dataclass(frozen=True, kw_only=True)
class Log:
    """What each user did, in his order: user u's are `items[bounds[u]:bounds[u + 1]]`; `values` are ratings or 1."""

    items: Ints
    bounds: Ints
    width: int  # number of items
    values: Floats
    moments: Ints | None = None  # seconds, where they are known

    @property
    def users(self) -> int:
        """Number of users."""
        return len(self.bounds) - 1

    @property
    def user_of(self) -> Ints:
        """The user of every action."""
        return np.repeat(np.arange(self.users), np.diff(self.bounds))

    @cached_property
    def matrix(self) -> sp.csr_matrix:
        """Who acted on what, 0 or 1: [users, items]."""
        ones = np.ones(len(self.items), np.float32)
        matrix = sp.csr_matrix((ones, (self.user_of, self.items)), shape=(self.users, self.width))
        matrix.data[:] = 1.0
        return matrix

    @cached_property
    def popularity(self) -> Floats:
        """Users of every item."""
        return np.bincount(self.matrix.indices, minlength=self.width).astype(np.float32)

    def history(self, user: int) -> Ints:
        """A user's items, oldest first."""
        return self.items[self.bounds[user] : self.bounds[user + 1]]


def log_of(
    users: Ints, items: Ints, count: int, width: int, values: Floats | None = None, moments: Ints | None = None
) -> Log:
    """The log of rows that are in order of time; `count` users, `width` items."""
    order = np.argsort(users, kind="stable")
    return Log(
        items=items[order],
        bounds=np.searchsorted(users[order], np.arange(count + 1)).astype(np.int64),
        width=width,
        values=(np.ones(len(items), np.float32) if values is None else values.astype(np.float32))[order],
        moments=None if moments is None else moments[order],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """For whom to rank: users of a log, all items they have not had or, where given, these candidates [asked, m]."""

    users: Ints
    candidates: Ints | None = None

    def __getitem__(self, part: Any) -> "Asked":
        return Asked(users=self.users[part], candidates=None if self.candidates is None else self.candidates[part])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The problem: what tuning fits on and is judged by, what the answering model fits on, and what is asked of it."""

    fit: Log
    validation: Asked
    truth: Sequence[Ints]  # of validation, by asked user
    final: Log
    asked: Asked
    depth: int  # items of a ranking
    metric: str
    item_features: sp.csr_matrix  # [items, n], known beforehand
    user_features: sp.csr_matrix | None = None  # [users, n], known beforehand
    every_score: bool = False  # asked are scores of all items, where the candidates would tell the test label


def rank(scorer: Scorer, log: Log, asked: Asked, depth: int) -> Ints:
    """Rankings [asked, depth]."""
    parts = [_rank(scorer, log, asked[i : i + CHUNK], depth) for i in range(0, len(asked.users), CHUNK)]
    return np.concatenate(parts) if parts else np.empty((0, depth), np.int64)


def _rank(scorer: Scorer, log: Log, asked: Asked, depth: int) -> Ints:
    return top(scorer(asked.users), log, asked, depth)


def top(scores: Floats, log: Log, asked: Asked, depth: int) -> Ints:
    """Rankings [asked, depth] by scores [asked, items]; non-finite scores rank last."""
    scores = np.where(np.isfinite(scores), scores, np.finfo(np.float32).min).astype(np.float32)
    if asked.candidates is not None:
        numbers = np.sort(asked.candidates, axis=1)
        order = np.argsort(-np.take_along_axis(scores, numbers, 1), axis=1, kind="stable")[:, :depth]
        return np.take_along_axis(numbers, order, 1)
    scores[log.matrix[asked.users].nonzero()] = -np.inf
    return _largest(scores, min(depth, scores.shape[1]))


def _largest(scores: Floats, k: int) -> Ints:
    """Numbers of the k largest of every row, −1 for what is −inf; equal ones by number."""
    least = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    result = np.full((len(scores), k), -1, np.int64)
    for row, (line, bound) in enumerate(zip(scores, least[:, 0], strict=True)):
        found = np.flatnonzero((line >= bound) & np.isfinite(line))
        found = found[np.argsort(-line[found], kind="stable")][:k]
        result[row, : len(found)] = found
    return result


def answered(scorer: Scorer, problem: Ranking) -> Answer:
    """What a fitted model says to what is asked."""
    if not problem.every_score:
        return Answer(rank(scorer, problem.final, problem.asked, problem.depth))
    users = problem.asked.users
    scores = np.empty((len(users), problem.final.width), np.float32)
    for start in range(0, len(users), CHUNK):
        scores[start : start + CHUNK] = scorer(users[start : start + CHUNK])
    return Answer(scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a model is fitted on."""

    log: Log
    problem: Ranking
    parameters: Parameters
    seed: int
    report: Report
    kept: Path | None = None


Fit = Callable[[Inputs], Scorer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranker:
    """A model of rankings by how it is fitted; `judge` has the metric that validation is judged by."""

    name: str
    fit: Fit
    space: Mapping[str, Sequence[float | int | str]] = field(default_factory=dict)
    defaults: Parameters = field(default_factory=dict)
    seeded: bool = False
    ours: bool = True

    def scorer(self, given: Given[Ranking], final: bool) -> Scorer:
        """Fitted for the test or for validation, once a run."""
        key = (self.name, final, given.seed if self.seeded else None)
        if key not in given.memo:
            log = given.problem.final if final else given.problem.fit
            given.memo[key] = self.fit(_inputs(given, log, given.parameters[self.name]))
        scorer: Scorer = given.memo[key]
        return scorer

    def model(self, judge: Callable[[Ranking], Judge]) -> Model[Ranking]:
        """The model for a protocol whose validation `judge` judges."""
        return Model(
            answer=self._answer, objective=partial(self._objective, judge) if self.space else None, space=self.space,
            defaults=self.defaults, seeded=self.seeded, ours=self.ours,
        )  # fmt: skip

    def _answer(self, given: Given[Ranking]) -> Answer:
        return answered(self.scorer(given, True), given.problem)

    def _objective(self, judge: Callable[[Ranking], Judge], given: Given[Ranking]) -> Objective:
        problem, judged = given.problem, judge(given.problem)

        def value(parameters: Parameters) -> float:
            scorer = self.fit(_inputs(given, problem.fit, parameters))
            return judged(Answer(rank(scorer, problem.fit, problem.validation, problem.depth)))[problem.metric]

        return value


def _inputs(given: Given[Ranking], log: Log, parameters: Parameters) -> Inputs:
    return Inputs(
        log=log, problem=given.problem, parameters=parameters, seed=given.seed, report=given.report, kept=given.kept
    )
