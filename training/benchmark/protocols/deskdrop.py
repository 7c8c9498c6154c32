"""Deskdrop, the next new item of a user, point in time.

Users with at least five items; the target is the item that is new to a user last, the candidates are all items seen
before that moment that the user has not had; whatever is known is known from events strictly before it. Equal scores
share their mean rank. A target that is nobody's before is missed by everyone. The log is what a model is given, so it
knows, as the reference does, what others did before the moment, be it their own target; models learn, and are
tuned, on a log without any target. Validation is the item before the target, learning is on the five before that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from feature_repo.vectors import Floats, Ints
from training.adapters.read import convert, read_csv, require
from training.benchmark.protocol import Answer, Figures, Given, Judge, Model, Objective, Parameters, Protocol
from training.benchmark.trees.boost import DEFAULTS, SPACE
from training.benchmark.trees.moments import Clock, Events
from training.benchmark.trees.visits import Lists, Visits, learn, lists, table

COLUMNS = ("timestamp", "contentId", "personId", "userCountry")
ITEMS, LEARNT = 5, 5  # items of a user who is asked; lists of a user that are learnt from
K, DEEP = 10, 100
METRIC = f"hit_rate@{K}"


@dataclass(frozen=True, kw_only=True)
class News:
    """The log before each moment, the same without the targets, and visits to learn from, to tune on and to answer."""

    log: Events
    past: Events
    fit: Visits
    validation: Visits
    asked: Visits


def load(folder: Path) -> tuple[News, Judge]:
    """The problem, and the judge with the targets. Raises DataError."""
    return problem(_events(require(folder, "users_interactions.csv.gz")))


def problem(log: Events) -> tuple[News, Judge]:
    """The problem of a log, and its judge."""
    first = log[log.new]
    total = np.bincount(first.user, minlength=log.users)
    left = total[first.user] - 1 - pd.Series(first.item).groupby(first.user).cumcount().to_numpy()
    known = total[first.user] >= ITEMS
    targets = first[np.flatnonzero(known & (left == 0))]
    pairs = log.user * log.items + log.item
    past = log[np.flatnonzero(~np.isin(pairs, targets.user * log.items + targets.item))]
    fit, validation = (
        first[np.flatnonzero(known & (left >= least) & (left <= most))] for least, most in ((2, 1 + LEARNT), (1, 1))
    )
    asked = Visits(user=targets.user, moment=targets.moment)
    return News(log=log, past=past, fit=_visits(fit), validation=_visits(validation), asked=asked), TargetJudge(
        targets.item
    )


def _visits(rows: Events) -> Visits:
    return Visits(user=rows.user, moment=rows.moment, target=rows.item)


def _events(path: Path) -> Events:
    log = read_csv(path, COLUMNS)
    moment = np.asarray(convert(path, "timestamp", log["timestamp"], pa.int64()), np.int64)
    order = np.argsort(moment, kind="stable")
    numbers = {name: pd.factorize(log[name].to_pandas().fillna(""), sort=True) for name in COLUMNS[1:]}
    codes = {name: np.asarray(found[0], np.int64)[order] for name, found in numbers.items()}
    return Events(
        user=codes["personId"], item=codes["contentId"], moment=moment[order], place=codes["userCountry"],
        users=len(numbers["personId"][1]), items=len(numbers["contentId"][1]),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TargetJudge:
    """Figures of scores [asked, items], −∞ for what is no candidate; rank = 1 + better + half of the others equal."""

    targets: Ints

    def __call__(self, answer: Answer) -> Figures:
        """Judge. Raises ValueError for answers to another number of visits."""
        if len(answer.scores) != len(self.targets):
            raise ValueError(f"{len(answer.scores)} answers to {len(self.targets)} visits; answer each once")
        target = answer.scores[np.arange(len(self.targets)), self.targets][:, None]
        better, equal = (answer.scores > target).sum(1), (answer.scores == target).sum(1) - 1
        place = np.where(np.isfinite(target[:, 0]), better + equal / 2, np.inf)
        gains = 1.0 / np.log2(place + 2)
        return {
            METRIC: float((place < K).mean()),
            f"ndcg@{K}": float(np.where(place < K, gains, 0.0).mean()),
            f"hit_rate@{DEEP}": float((place < DEEP).mean()),
        }


def counted(log: Events, visits: Visits, count: Callable[[Clock], Floats]) -> Answer:
    """What the clock counts at each visit, of items that the user has not had."""
    clock, scores = Clock(log), np.full((len(visits), log.items), -np.inf, np.float32)
    for row, (user, moment) in enumerate(zip(visits.user, visits.moment, strict=True)):
        clock.to(int(moment))
        items = clock.unseen(int(user))
        scores[row, items] = count(clock)[items]
    return Answer(scores)


def _popular(hours: float) -> Model[News]:
    """Users that came to an item for the first time in the last hours."""
    return Model(
        answer=lambda given: counted(given.problem.log, given.problem.asked, lambda clock: clock.counts(hours)),
        ours=False,
    )


def _decayed(log: Events, visits: Visits, parameters: Parameters) -> Answer:
    """Users that came to an item for the first time, each weighing exp(−age/hours)."""
    return counted(log, visits, lambda clock: clock.decayed(float(parameters["hours"])))


def _decayed_objective(given: Given[News]) -> Objective:
    news, judge = given.problem, TargetJudge(given.problem.validation.known)
    return lambda parameters: judge(_decayed(news.past, news.validation, parameters))[METRIC]


def ranked(given: Given[News], parameters: Parameters, name: str) -> Answer:
    """The ranker's answer to `asked`, or to `validation`, learnt without it."""
    news, visits = given.problem, getattr(given.problem, name)
    lessons = [(_lists(given, part), getattr(news, part)) for part in ("fit", "validation")]
    booster = learn(lessons if name == "asked" else lessons[:1], parameters, given.seed)
    found = _lists(given, name)
    scores = np.asarray(booster.predict(found.matrix), np.float32)
    return Answer(table(found, scores, len(visits), news.log.items))


def _lists(given: Given[News], name: str) -> Lists:
    """Of `fit`, `validation` or `asked`: made once a run."""
    key = ("lists", name)
    if key not in given.memo:
        news, visits = given.problem, getattr(given.problem, name)
        log = news.log if name == "asked" else news.past
        given.memo[key] = lists(log, visits, lambda done: given.report(f"lists: {name}", done, len(visits)))
    found: Lists = given.memo[key]
    return found


def _objective(given: Given[News]) -> Objective:
    judge = TargetJudge(given.problem.validation.known)
    return lambda parameters: judge(ranked(given, parameters, "validation"))[METRIC]


PROTOCOL = Protocol(
    name="deskdrop",
    title="Deskdrop, next new item, point in time",
    folder="deskdrop",
    metric=METRIC,
    load=load,
    models={
        "popularity": _popular(np.inf),
        "popularity-7d": _popular(168),
        "popularity-1d": _popular(24),
        "decayed": Model(
            answer=lambda given: _decayed(given.problem.log, given.problem.asked, given.parameters["decayed"]),
            objective=_decayed_objective, defaults={"hours": 6}, space={"hours": (1, 3, 6, 12, 24, 48)},
        ),
        "ranker": Model(
            answer=lambda given: ranked(given, given.parameters["ranker"], "asked"),
            objective=_objective, space=SPACE, defaults=DEFAULTS, seeded=True,
        ),
    },
    published={},
    reference={
        "popularity": {METRIC: 0.0904, "ndcg@10": 0.0606},
        "popularity-7d": {METRIC: 0.5070, "ndcg@10": 0.2823, "hit_rate@100": 0.8798},
        "popularity-1d": {METRIC: 0.7439, "ndcg@10": 0.5091},
        "item-knn": {METRIC: 0.0272},
    },
)  # fmt: skip
