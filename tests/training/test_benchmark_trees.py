"""Rankers over features: no feature knows what it is asked, no booster and no parameter sees a test label."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from deploy.settings import ROOT
from tests.training.benchmark_logs import write_deskdrop, write_lastfm, write_ta_feng
from training.benchmark.protocol import Answer, Given, Protocol
from training.benchmark.protocols import deskdrop, named, ta_feng
from training.benchmark.run import document, run, search, tuned
from training.benchmark.trees import affinity, baskets, moments
from training.benchmark.trees.visits import Visits, learn, lists
from training.errors import DataError

SETS = ROOT.parent / "shared" / "data"
TINY = {"rounds": 4, "num_leaves": 4, "learning_rate": 0.3, "min_data_in_leaf": 2, "feature_fraction": 1.0}


def small(name: str) -> Protocol[Any]:
    """The protocol with small forests, one parameter to tune."""
    protocol = named(name)
    models = {
        name: dataclasses.replace(model, defaults=TINY, space={"num_leaves": (2, 8)}) if model.seeded else model
        for name, model in protocol.models.items()
    }
    return dataclasses.replace(protocol, models=models)


def outcome(name: str, folder: Path, trials: Path) -> dict[str, Any]:
    protocol = small(name)
    problem, judge = protocol.load(folder)
    names = list(protocol.models)
    parameters = search(protocol, problem, names, trials, lambda *_: None, lambda *_: None, known=trials)
    return document(
        protocol, run(protocol, problem, judge, names, (1, 2), parameters, lambda *_: None), parameters, (1, 2)
    )


@pytest.mark.parametrize(("name", "write"), [("lastfm-ctr", write_lastfm), ("ta-feng", write_ta_feng)])
def test_noise_in_place_of_the_test_labels_changes_no_parameter_and_no_answer(
    name: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    found = outcome(name, write(tmp_path / "set"), tmp_path / "trials")
    other = outcome(name, write(tmp_path / "noise", noise=5), tmp_path / "others")
    assert other["parameters"] == found["parameters"]
    assert other["digests"] == found["digests"]
    assert other["figures"] != found["figures"]  # the judge did see them
    assert len(found["digests"]["ranker"]) == 2


def test_noise_in_place_of_the_targets_changes_no_parameter_and_no_booster(tmp_path: Path) -> None:
    """Deskdrop's log goes on after a target, so an answer to a later question may know of it; a booster may not."""
    boosters, parameters, figures = [], [], []
    for noise in (None, 5):
        folder = write_deskdrop(tmp_path / f"set-{noise}", noise)
        news, _ = deskdrop.load(folder)
        lessons = [(lists(news.past, visits), visits) for visits in (news.fit, news.validation)]
        boosters.append(learn(lessons, TINY, 1).model_to_string())
        found = outcome("deskdrop", folder, tmp_path / f"trials-{noise}")
        parameters.append(found["parameters"])
        figures.append(found["figures"])
    assert boosters[0] == boosters[1]
    assert boosters[0].count("Tree=") == TINY["rounds"]
    assert parameters[0] == parameters[1]
    assert figures[0] != figures[1]


def events() -> moments.Events:
    hour = moments.HOUR
    return moments.Events(
        user=np.array([0, 1, 0, 1, 2]), item=np.array([0, 0, 1, 1, 2]), place=np.zeros(5, np.int64),
        moment=np.array([0, 2 * hour, 30 * hour, 31 * hour, 40 * hour]), users=3, items=3,
    )  # fmt: skip


def test_the_clock_knows_what_was_strictly_before() -> None:
    clock = moments.Clock(events())
    clock.to(31 * moments.HOUR)  # the event at this very moment has not happened
    assert clock.unseen(1).tolist() == [1]
    assert clock.unseen(2).tolist() == [0, 1]
    assert clock.counts(24).tolist() == [0, 1, 0]
    assert clock.counts().tolist() == [2, 1, 0]
    row = dict(zip(moments.FEATURES, clock.features(2, np.array([0, 1])).T, strict=True))
    assert row["users_1h"].tolist() == [0, 1]
    assert row["age"].tolist() == [31, 1]
    assert row["idle_rank"].tolist() == [1, 0]
    assert row["users"].tolist() == [2, 1]
    with pytest.raises(ValueError, match="which the clock has passed"):
        clock.to(0)


def test_what_happens_later_changes_no_list() -> None:
    log, visits = events(), Visits(user=np.array([1, 2]), moment=np.array([31, 39]) * moments.HOUR)
    whole, early = lists(log, visits), lists(log[np.arange(4)], visits)
    assert whole.item.tolist() == early.item.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(whole.matrix, early.matrix)


def test_equal_scores_share_their_mean_rank() -> None:
    scores = np.full((3, 30), -np.inf)
    scores[0, :21], scores[1, :3], scores[2, :3] = 1.0, (3, 2, 1), (3, 2, 1)
    found = deskdrop.TargetJudge(np.array([0, 1, 9]))(Answer(scores))
    assert found["hit_rate@10"] == pytest.approx(1 / 3)  # rank 11; rank 2; no candidate
    assert found["ndcg@10"] == pytest.approx(1 / np.log2(3) / 3)
    assert found["hit_rate@100"] == pytest.approx(2 / 3)


def test_a_training_pair_is_in_no_log_of_its_own_features() -> None:
    log = sp.csr_matrix(np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]], np.float32))
    tags = sp.csr_matrix(np.array([[1, 0], [1, 0], [0, 1]], np.float32))
    users, items = np.array([0]), np.array([0])
    left = affinity.without(log, users, items)
    assert left.toarray().tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 1]]
    held = affinity.held_out(log, tags, users, items, folds=2)
    row = dict(zip(affinity.FEATURES, held[0], strict=True))
    assert (row["item_users"], row["user_items"]) == (1, 1)
    assert row["item_cosine"] == 0  # nobody else has both items
    assert row["user_cosine"] == 0
    assert row["tags"] == pytest.approx(1)  # of the item that is left


def test_ridge_is_ease_by_the_items() -> None:
    X = np.random.default_rng(0).integers(0, 2, (8, 5)).astype(np.float32)
    P = np.linalg.inv(X.T @ X + affinity.RIDGE * np.eye(5))
    B = -P / np.diag(P)
    np.fill_diagonal(B, 0)
    np.testing.assert_allclose(affinity._ridge(sp.csr_matrix(X)), X @ B, atol=1e-5)


def test_the_shelf_knows_what_was_bought_before_its_day() -> None:
    lines = pd.DataFrame({
        "customer": [0, 0, 1, 0, 1], "item": [0, 0, 1, 1, 0], "day": [1, 5, 5, 9, 10],
        "pieces": [1, 2, 1, 1, 1], "price": [2.0, 4.0, 1.0, 1.0, 9.0],
    })  # fmt: skip
    columns = {name: lines[name].to_numpy() for name in lines}
    shelf = baskets.Shelf(baskets.Receipts(**columns, group=np.array([0, 1]), customers=2), 9)
    who = np.array([0, 1])
    rows, items = shelf.candidates(who)
    assert list(zip(rows, items, strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    first = dict(zip(baskets.FEATURES, shelf.features(who, rows, items)[0], strict=True))
    assert (first["times"], first["pieces"], first["own_idle"], first["own_interval"]) == (2, 3, 4, 1)
    assert (first["users"], first["users_7d"], first["price"], first["price_ratio"]) == (1, 1, 3, 1)


def test_what_is_new_to_a_customer_is_judged_alone() -> None:
    judge = ta_feng.BasketJudge(bought=np.array([1, 2, 12]), had=np.array([1]), items=10)
    ranked = np.full((2, 2, 10), -1)
    ranked[0, 0, :2], ranked[1, 0, :2] = (1, 3), (3, 2)
    found = judge(Answer(ranked))
    assert found["recall@10"] == pytest.approx((1 / 2 + 0) / 2)
    assert found["new_recall@10"] == pytest.approx((1 + 0) / 2)
    assert found["new_ndcg@10"] == pytest.approx(1 / np.log2(3) / 2)


def test_dates_that_are_none_are_refused(tmp_path: Path) -> None:
    frame = pd.read_parquet(write_ta_feng(tmp_path) / "ta_feng.parquet")
    frame.loc[0, "TRANSACTION_DT"] = "yesterday"
    frame.to_parquet(tmp_path / "ta_feng.parquet")
    with pytest.raises(DataError, match="TRANSACTION_DT: 1 of"):
        ta_feng.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "model", "metric", "value"),
    [
        ("lastfm-ctr", "popularity", "auc", 0.794),
        ("deskdrop", "popularity-1d", "hit_rate@10", 0.7439),
        ("deskdrop", "popularity-7d", "ndcg@10", 0.2823),
        ("deskdrop", "popularity", "ndcg@10", 0.0606),
    ],
)
def test_a_reference_is_reproduced(name: str, model: str, metric: str, value: float) -> None:
    protocol = named(name)
    if not (SETS / protocol.folder).is_dir():
        pytest.skip(f"{SETS / protocol.folder} is absent: the published set is not redistributed")
    problem, judge = protocol.load(SETS / protocol.folder)
    given: Given[Any] = Given(problem=problem, parameters=tuned(protocol), seed=1, report=lambda *_: None)
    assert judge(protocol.models[model].answer(given))[metric] == pytest.approx(value, abs=0.0005)
