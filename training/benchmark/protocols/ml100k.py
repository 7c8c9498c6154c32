"""MovieLens 100K in MCRec's split (Ferrari Dacrema et al., TOIS 2021, table 46).

80,000 ratings train, 20,000 test, every rating a positive; of all items that are not in the user's train ten are
ranked. NDCG's ideal is over all of a user's test items. Validation is a twentieth of the train ratings, drawn at
random. The more is held out, the worse EASE does beside the others on what is left (train alone shows it), so a fifth
would choose otherwise than all of train deserves.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from feature_repo.vectors import Ints
from training.adapters.movielens import GENRES
from training.adapters.read import read_csv, require, seconds
from training.benchmark.judges import RankingJudge, ndcg, precision, recall
from training.benchmark.protocol import Judge, Protocol
from training.benchmark.rankers.blend import Blend
from training.benchmark.rankers.counts import item_knn, popularity, user_knn
from training.benchmark.rankers.linear import ease, ials, slim
from training.benchmark.rankers.towers import towers
from training.benchmark.ranking import Asked, Log, Ranker, Ranking, log_of

SPLIT = "split_mcrec_dacrema"
COLUMNS = ("user_id", "item_id", "rating", "timestamp")
K, HELD_OUT = 10, 0.05
FIGURES = {"precision@10": precision(K), "recall@10": recall(K), "ndcg@10": ndcg(K, whole_ideal=True)}


def load(folder: Path) -> tuple[Ranking, Judge]:
    """The problem, and the judge with the test labels. Raises DataError."""
    train, test = (_ratings(require(folder / SPLIT, f"{name}.csv.gz")) for name in ("train", "test"))
    catalogue, genres = _catalogue(require(folder, "items.csv.gz"))
    people = pd.Index(np.unique(train.user))
    final = _log(train, people, catalogue)
    asked = np.unique(people.get_indexer(pd.Index(test.user).intersection(people)))
    kept = np.random.default_rng(0).random(len(train)) >= HELD_OUT
    held = _truth(train[~kept], people, catalogue)
    truth = _truth(test, people, catalogue)
    problem = Ranking(
        fit=_log(train[kept], people, catalogue), validation=Asked(users=np.array(list(held), np.int64)),
        truth=list(held.values()), final=final, asked=Asked(users=asked), depth=K, metric="ndcg@10",
        item_features=genres, user_features=_people(require(folder, "users.csv.gz"), people),
    )  # fmt: skip
    return problem, RankingJudge([truth[user] for user in asked], FIGURES)


def _ratings(path: Path) -> pd.DataFrame:
    table = read_csv(path, COLUMNS)
    frame = pd.DataFrame({name: seconds(path, name, table[name]) for name in COLUMNS})
    return frame.set_axis(["user", "item", "rating", "moment"], axis=1).sort_values("moment", kind="stable")


def _catalogue(path: Path) -> tuple[pd.Index, sp.csr_matrix]:
    """Items in a random order of ours, and their genres."""
    movies = read_csv(path, ("movie_id", *GENRES))
    numbers = seconds(path, "movie_id", movies["movie_id"])
    flags = np.stack([seconds(path, genre, movies[genre]) for genre in GENRES], axis=1)
    order = np.random.default_rng(0).permutation(len(numbers))
    return pd.Index(numbers[order]), sp.csr_matrix(flags[order].astype(np.float32))


def _people(path: Path, people: pd.Index) -> sp.csr_matrix:
    """Gender, occupation and decade of age of these users, a column for each value."""
    table = read_csv(path, ("user_id", "age", "gender", "occupation")).to_pandas()
    table["age"] = seconds(path, "age", read_csv(path, ("age",))["age"]) // 10
    known = table.set_index(table.pop("user_id").astype("int64")).reindex(people)
    return sp.csr_matrix(pd.get_dummies(known.astype("string")).to_numpy(np.float32))


def _log(rows: pd.DataFrame, people: pd.Index, catalogue: pd.Index) -> Log:
    users, items = people.get_indexer(pd.Index(rows.user)), catalogue.get_indexer(pd.Index(rows.item))
    known = items >= 0
    return log_of(
        users[known], items[known], len(people), len(catalogue),
        rows.rating.to_numpy()[known], rows.moment.to_numpy()[known],
    )  # fmt: skip


def _truth(rows: pd.DataFrame, people: pd.Index, catalogue: pd.Index) -> dict[int, Ints]:
    """What users acted on, −2 for an item that is not in the catalogue: it counts, and nobody finds it."""
    items = catalogue.get_indexer(pd.Index(rows.item))
    users = people.get_indexer(pd.Index(rows.user))
    order = np.argsort(users, kind="stable")
    who, starts = np.unique(users[order], return_index=True)
    held = np.split(np.where(items < 0, -2, items)[order], starts[1:])
    return dict(zip(who.tolist(), held, strict=True))


def _judged(problem: Ranking, rows: Ints | None = None) -> Judge:
    truth = problem.truth if rows is None else [problem.truth[row] for row in rows]
    return RankingJudge(truth, FIGURES)


POPULARITY = Ranker(name="popularity", fit=popularity, ours=False)
KNN = Ranker(
    name="item-knn", fit=item_knn,
    defaults={"closeness": 0.9, "backward": 1.0, "shrink": 10.0, "row_power": 0.5, "column_power": 0.5, "decay": 1.0},
    space={"closeness": (0.8, 0.9), "shrink": (10.0, 30.0), "row_power": (0.5, 0.7), "column_power": (0.3, 0.4, 0.5)},
)  # fmt: skip
LIKE = Ranker(
    name="user-knn", fit=user_knn, defaults={"rarity": 0.5, "neighbours": 200},
    space={"rarity": (0.0, 0.5, 1.0), "neighbours": (100, 200)},
)  # fmt: skip
EASE = Ranker(
    name="ease", fit=ease, defaults={"l2": 300.0, "dropout": 0.0, "features": 0.0, "people": 0.0},
    space={"l2": (300.0, 500.0), "dropout": (0.0, 0.33, 0.5), "features": (0.0, 3.0, 10.0),
           "people": (0.0, 1.0, 2.0)},
)  # fmt: skip
SLIM = Ranker(
    name="slim", fit=slim, defaults={"l1": 3.0, "l2": 400.0}, space={"l1": (1.0, 3.0, 6.0), "l2": (200.0, 400.0, 700.0)}
)
IALS = Ranker(
    name="ials",
    fit=ials,
    seeded=True,
    defaults={"width": 128, "unseen": 0.1, "l2": 0.03},
    space={"width": (64, 128), "l2": (0.02, 0.025, 0.03)},
)
TOWERS = Ranker(
    name="two-tower", fit=towers, seeded=True,
    defaults={"whole": True, "reach": 1000, "batch": 16, "epochs": 10, "negatives": 256, "temperature": 0.1},
)  # fmt: skip
PARTS = (KNN, LIKE, EASE, SLIM, IALS, TOWERS)

PROTOCOL = Protocol(
    name="ml100k",
    title="MovieLens 100K, MCRec's split",
    folder="ml_100k",
    metric="ndcg@10",
    load=load,
    models={
        **{part.name: part.model(_judged) for part in (POPULARITY, *PARTS)},
        "blend": Blend(parts=PARTS, defaults={"ease": 1.0}).model(_judged),
    },
    published={
        "TopPopular": {"precision@10": 0.1907, "recall@10": 0.1180, "ndcg@10": 0.1361},
        "UserKNN": {"precision@10": 0.3442, "recall@10": 0.2237, "ndcg@10": 0.2692},
        "ItemKNN": {"precision@10": 0.3320, "recall@10": 0.2171, "ndcg@10": 0.2601},
        "RP3beta": {"precision@10": 0.3435, "recall@10": 0.2191, "ndcg@10": 0.2588},
        "PureSVD": {"precision@10": 0.3545, "recall@10": 0.2247, "ndcg@10": 0.2719},
        "NMF": {"precision@10": 0.3350, "recall@10": 0.2139, "ndcg@10": 0.2585},
        "iALS": {"precision@10": 0.3596, "recall@10": 0.2283, "ndcg@10": 0.2759},
        "MF-BPR": {"precision@10": 0.2816, "recall@10": 0.1860, "ndcg@10": 0.2195},
        "FunkSVD": {"precision@10": 0.3442, "recall@10": 0.2203, "ndcg@10": 0.2642},
        "EASE^R": {"precision@10": 0.3739, "recall@10": 0.2430, "ndcg@10": 0.2905},
        "SLIM ElasticNet": {"precision@10": 0.3770, "recall@10": 0.2441, "ndcg@10": 0.2957},
        "MCRec": {"precision@10": 0.3110, "recall@10": 0.2113, "ndcg@10": 0.2466},
    },
    reference={"EASE (l2 300)": {"precision@10": 0.3759, "recall@10": 0.2452, "ndcg@10": 0.2925}},
)
