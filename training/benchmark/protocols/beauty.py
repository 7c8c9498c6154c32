"""Amazon Beauty, leave one out, as published with S3-Rec (Zhou et al., CIKM 2020): of a user's items the last is test,
the one before it validation. Two protocols on it: against all items he has not had, and against 99 fixed ones.

The candidates of validation are drawn as the published ones are: evenly from what the user has not had. The answering
model fits on everything before the test item.
"""

import gzip
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import scipy.sparse as sp

from feature_repo.vectors import Ints
from training.adapters.read import require
from training.benchmark.judges import CandidateJudge, Figure, RankingJudge, ndcg, recall, reciprocal
from training.benchmark.protocol import Figures, Judge, Protocol
from training.benchmark.rankers.blend import Blend
from training.benchmark.rankers.counts import item_knn, popularity
from training.benchmark.rankers.towers import towers
from training.benchmark.ranking import Asked, Log, Ranker, Ranking, log_of
from training.errors import DataError

METRIC, CANDIDATES = "ndcg@10", 99
FULL: dict[str, Figure] = {
    f"{name}@{k}": figure(k) for k in (5, 10, 20) for name, figure in (("hr", recall), ("ndcg", ndcg))
}
SAMPLED: dict[str, Figure] = {
    "hr@1": recall(1),
    **{f"{name}@{k}": figure(k) for k in (5, 10) for name, figure in (("hr", recall), ("ndcg", ndcg))},
    "mrr": reciprocal,
}


def load(folder: Path, sampled: bool) -> tuple[Ranking, Judge]:
    """The problem, and the judge with the test labels. Raises DataError."""
    users, sequences = _sequences(require(folder, "Beauty.txt.gz"))
    catalogue, attributes = _catalogue(require(folder, "Beauty_item2attributes.json.gz"))
    rows = [catalogue.get_indexer(pd.Index(sequence)) for sequence in sequences]
    everybody, tests = np.arange(len(rows)), np.array([row[-1] for row in rows], np.int64)
    final = _log([row[:-1] for row in rows], len(catalogue))
    problem = Ranking(
        fit=_log([row[:-2] for row in rows], len(catalogue)),
        validation=Asked(users=everybody, candidates=_drawn(final) if sampled else None),
        truth=[row[-2:-1] for row in rows], final=final, asked=Asked(users=everybody),
        depth=CANDIDATES + 1 if sampled else 20, metric=METRIC, item_features=attributes, every_score=sampled,
    )  # fmt: skip
    if not sampled:
        return problem, RankingJudge(list(tests[:, None]), FULL)
    return problem, CandidateJudge(tests, _offered(require(folder, "Beauty_test_neg99.npz"), users, catalogue), SAMPLED)


def _sequences(path: Path) -> tuple[Ints, list[Ints]]:
    """Users, and the items of each in order."""
    try:
        lines = [np.array(line.split(), np.int64) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as rows of numbers: {error}") from None
    if short := [number for number, line in enumerate(lines, 1) if len(line) < 4]:
        raise DataError(f"{path}: {len(short)} of {len(lines)} rows have fewer than three items, first: {short[0]}")
    return np.array([line[0] for line in lines], np.int64), [line[1:] for line in lines]


def _catalogue(path: Path) -> tuple[pd.Index, sp.csr_matrix]:
    """Items in a random order of ours, and their attributes."""
    try:
        stored = {int(item): found for item, found in orjson.loads(gzip.decompress(path.read_bytes())).items()}
    except (OSError, EOFError, AttributeError, ValueError) as error:
        raise DataError(f"{path}: not an object of item: [attributes]: {error}") from None
    items = np.random.default_rng(0).permutation(np.array(sorted(stored), np.int64))
    rows = np.repeat(np.arange(len(items)), [len(stored[item]) for item in items])
    columns = np.array([attribute for item in items for attribute in stored[item]], np.int64)
    shape = (len(items), int(columns.max(initial=0)) + 1)
    return pd.Index(items), sp.csr_matrix((np.ones(len(columns), np.float32), (rows, columns)), shape=shape)


def _log(rows: list[Ints], width: int) -> Log:
    rows = [row[row >= 0] for row in rows]
    users = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return log_of(users, np.concatenate(rows), len(rows), width)


def _drawn(log: Log) -> Ints:
    """What validation's target is ranked among: itself and others that the user has not had [users, 100]."""
    rng, result = np.random.default_rng(0), np.empty((log.users, CANDIDATES + 1), np.int64)
    for user in range(log.users):
        had = log.history(user)
        others = np.setdiff1d(rng.choice(log.width, min(log.width, CANDIDATES + len(had)), replace=False), had)
        result[user] = [had[-1], *rng.choice(others, CANDIDATES, replace=len(others) < CANDIDATES)]
    return result


def _offered(path: Path, users: Ints, catalogue: pd.Index) -> Ints:
    """The published candidates of every user, in the order of `users`: [users, 99]."""
    try:
        with np.load(path) as stored:
            others, who = stored["neg"], stored["user"]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: holds no arrays neg and user: {error}") from None
    place, numbers = pd.Index(who).get_indexer(pd.Index(users)), catalogue.get_indexer(pd.Index(others.ravel()))
    if (place < 0).any() or (numbers < 0).any():
        raise DataError(
            f"{path}: {(place < 0).sum()} users and {(numbers < 0).sum()} items unknown; both are to be of one set"
        )
    offered: Ints = numbers.reshape(others.shape)[place]
    return offered


def _judged(problem: Ranking, rows: Ints | None = None) -> Judge:
    truth = problem.truth if rows is None else [problem.truth[row] for row in rows]
    return RankingJudge(truth, {METRIC: ndcg(10)})


POPULARITY = Ranker(name="popularity", fit=popularity, ours=False)
KNN = Ranker(
    name="item-knn", fit=item_knn,
    defaults={"closeness": 0.9, "backward": 0.3, "shrink": 3.0, "row_power": 0.5, "column_power": 0.15, "decay": 0.6},
    space={"backward": (0.3, 0.5, 0.7), "shrink": (1.0, 3.0), "column_power": (0.15, 0.3), "decay": (0.5, 0.6, 0.7)},
)  # fmt: skip
TOWERS = Ranker(
    name="two-tower", fit=towers, seeded=True,
    defaults={"epochs": 8, "temperature": 0.07, "width": 64},
)  # fmt: skip
PARTS = (KNN, TOWERS)


def _protocol(
    name: str, title: str, sampled: bool, published: Mapping[str, Figures], reference: Mapping[str, Figures]
) -> Protocol[Ranking]:
    parts = {part.name: part.model(_judged) for part in (POPULARITY, *PARTS)}
    return Protocol(
        name=name, title=title, folder="s3rec_beauty", metric=METRIC, load=partial(load, sampled=sampled),
        models={**parts, "blend": Blend(parts=PARTS, defaults={"item-knn": 1.0, "two-tower": 1.0}).model(_judged)},
        published=published, reference=reference,
    )  # fmt: skip


def _row(names: Sequence[str], *values: float) -> Figures:
    return dict(zip(names, values, strict=True))


_FULL, _SAMPLED = tuple(FULL), tuple(SAMPLED)
EVERYTHING = _protocol(
    "beauty-full",
    "Amazon Beauty, all items",
    False,
    {
        "PopRec": _row(_FULL, 0.0080, 0.0044, 0.0152, 0.0068, 0.0217, 0.0084),
        "GRU4Rec": _row(_FULL, 0.0164, 0.0099, 0.0283, 0.0137, 0.0479, 0.0187),
        "Caser": _row(_FULL, 0.0205, 0.0131, 0.0347, 0.0176, 0.0556, 0.0229),
        "BERT4Rec": _row(_FULL, 0.0203, 0.0124, 0.0347, 0.0170, 0.0599, 0.0233),
        "SASRec": _row(_FULL, 0.0387, 0.0249, 0.0605, 0.0318, 0.0902, 0.0394),
        "S3-Rec": _row(_FULL, 0.0387, 0.0244, 0.0647, 0.0327, 0.0994, 0.0414),
    },
    {
        "item-kNN (0.7^age)": _row(_FULL, 0.0547, 0.0398, 0.0755, 0.0465, 0.0999, 0.0526),
        "EASE (l2 300)": _row(_FULL, 0.0499, 0.0329, 0.0749, 0.0409, 0.1065, 0.0488),
    },
)
AMONG_99 = _protocol(
    "beauty-99",
    "Amazon Beauty, among 99 others",
    True,
    {
        "PopRec": _row(_SAMPLED, 0.0678, 0.2105, 0.1391, 0.3386, 0.1803, 0.1558),
        "FM": _row(_SAMPLED, 0.0405, 0.1461, 0.0934, 0.2311, 0.1207, 0.1096),
        "AutoInt": _row(_SAMPLED, 0.0447, 0.1705, 0.1063, 0.2872, 0.1440, 0.1226),
        "GRU4Rec": _row(_SAMPLED, 0.1337, 0.3125, 0.2268, 0.4106, 0.2584, 0.2308),
        "SASRec": _row(_SAMPLED, 0.1870, 0.3741, 0.2848, 0.4696, 0.3156, 0.2852),
        "BERT4Rec": _row(_SAMPLED, 0.1531, 0.3640, 0.2622, 0.4739, 0.2975, 0.2614),
        "S3-Rec": _row(_SAMPLED, 0.2192, 0.4502, 0.3407, 0.5506, 0.3732, 0.3340),
    },
    {"item-kNN and popularity": _row(_SAMPLED, 0.1600, 0.3316, 0.2484, 0.4328, 0.2810, 0.2523)},
)
