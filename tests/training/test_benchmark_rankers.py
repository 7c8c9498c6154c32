"""Models of rankings against answers worked out by hand or by the plain formula."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from tests.training.benchmark_sets import ITEMS, write_beauty
from training.benchmark.protocols import named
from training.benchmark.rankers.blend import standardised
from training.benchmark.rankers.counts import aged, following, likeness, neighbours
from training.benchmark.rankers.linear import ease_weights, slim_weights, solve
from training.benchmark.rankers.towers import padded_features, towers
from training.benchmark.ranking import Asked, Inputs, Log, log_of, top
from training.models.sequence import PAD, SequenceConfig, SequenceTowers
from training.models.softmax import log_mixed, sampled_softmax


def log() -> Log:
    """User 0: 0, 1, 2; user 1: 2, 1."""
    return log_of(np.array([0, 1, 0, 1, 0]), np.array([0, 2, 1, 1, 2]), 2, 4)


def test_the_log_keeps_each_users_order() -> None:
    assert log().history(0).tolist() == [0, 1, 2]
    assert log().history(1).tolist() == [2, 1]
    assert log().popularity.tolist() == [1, 2, 2, 0]
    assert aged(log(), 0.5).toarray().tolist() == [[0.25, 0.5, 1, 0], [0, 1, 0.5, 0]]


def test_what_follows_counts_by_the_steps_between() -> None:
    assert following(log(), 0.5).toarray().tolist() == [[0, 1, 0.5, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_neighbours_count_backward_less_and_popular_ones_less() -> None:
    parameters = {"closeness": 0.5, "backward": 0.1, "row_power": 1.0, "column_power": 0.5, "shrink": 1.0}
    found = neighbours(log(), parameters).toarray()
    assert found[0, 1] == pytest.approx(1 / (1 * 2**0.5 + 1))
    assert found[1, 0] == pytest.approx(0.1 / (2 * 1 + 1))
    assert found[1, 2] == pytest.approx(1.1 / (2 * 2**0.5 + 1))
    assert not found.diagonal().any()


def test_the_most_alike_users_count_and_nobody_himself() -> None:
    matrix = sp.csr_matrix([[1.0, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]])
    found = likeness(matrix, 0.0, 1)
    assert found[0] == pytest.approx([0, 4 / 6, 0])  # (2 / √(2 · 3))²
    assert found[2] == pytest.approx([0, 1 / 6, 0])
    rare = likeness(matrix, 1.0, 2)[1]  # squared lengths 1, 1.5, 1.5; in common 1 with user 0, 0.5 with user 2
    assert rare == pytest.approx([1 / 1.5, 0, 0.25 / 1.5 / 1.5])


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_ease_is_the_regression_of_each_item_on_all_others(dropout: float) -> None:
    X = np.random.default_rng(0).integers(0, 2, (20, 5)).astype(float)
    G = X.T @ X
    penalty = np.diag(3.0 + dropout / (1 - dropout) * np.diag(G))
    weights = ease_weights(G.copy(), 3.0, dropout)
    for item in range(5):
        others = np.delete(np.arange(5), item)
        plain = np.linalg.solve((G + penalty)[np.ix_(others, others)], G[others, item])
        assert weights[others, item] == pytest.approx(plain, abs=1e-5)
        assert weights[item, item] == 0


def test_slim_meets_the_conditions_of_its_optimum() -> None:
    X = np.random.default_rng(0).integers(0, 2, (30, 6)).astype(np.float32)
    G = X.T @ X
    B = slim_weights(G, 1.5, 4.0, 400)
    slope = G @ B - G + 4.0 * B + 1.5
    off = ~np.eye(6, dtype=bool)
    assert not B[~off].any()
    assert (B >= 0).all()
    assert (B[off] > 0).any()
    assert (B[off] == 0).any()
    assert slope[off & (B > 0)] == pytest.approx(0, abs=1e-3)
    assert (slope[off & (B == 0)] >= -1e-3).all()


def test_als_solves_the_weighted_least_squares() -> None:
    V, unseen, l2 = np.random.default_rng(0).normal(size=(4, 2)), 0.3, 0.2
    (u,) = solve(sp.csr_matrix([[1.0, 0, 1, 0]]), V, unseen, l2)
    residual = V[[0, 2]].T @ (1 - V[[0, 2]] @ u) - unseen * V.T @ V @ u - l2 * (2 + unseen * 4) * u
    assert residual == pytest.approx(np.zeros(2), abs=1e-9)  # the gradient there


def test_rankings_leave_out_what_was_had_and_break_ties_by_number() -> None:
    scores = np.array([[9, 9, 9, 1], [0.5, 9, 9, np.nan]], np.float32)
    asked = Asked(users=np.array([0, 1]))
    assert top(scores.copy(), log(), asked, 3).tolist() == [[3, -1, -1], [0, 3, -1]]
    among = Asked(users=np.array([0, 1]), candidates=np.array([[3, 1, 0], [3, 1, 0]]))
    assert top(scores.copy(), log(), among, 2).tolist() == [[0, 1], [1, 0]]


def test_standardised_scores() -> None:
    assert standardised(np.array([[1.0, 3.0], [2.0, 2.0]])).tolist() == [[-1, 1], [0, 0]]


def test_softmax_over_a_sample_is_corrected_for_how_it_was_drawn() -> None:
    similarity, log_q = torch.tensor([[0.5, 0.2, 0.1]]), torch.log(torch.tensor([0.5, 0.25, 1.0]))
    ignored = torch.tensor([[False, False, True]])
    loss = sampled_softmax(similarity, torch.tensor(0.1).log(), log_q, torch.tensor([0]), ignored)
    odds = np.exp([5.0, 2.0]) / [0.5, 0.25]
    assert loss.item() == pytest.approx(-np.log(odds[0] / odds.sum()), rel=1e-5)


def test_an_item_is_in_the_sample_by_either_way() -> None:
    found = log_mixed(torch.tensor([0.0, 0.5, 1.0]), 2, 0.2).exp()
    assert found.tolist() == pytest.approx([0.2, 1 - 0.25 * 0.8, 1.0])


def sequence_towers(whole: bool) -> SequenceTowers:
    torch.manual_seed(0)
    config = SequenceConfig(width=4, whole=whole)
    return SequenceTowers(6, torch.tensor([[1, 2], [1, 0], [0, 0], [2, 0], [2, 0], [1, 0]]), config).eval()


@pytest.mark.parametrize("whole", [False, True])
def test_a_user_does_not_see_the_action_that_is_to_be_told(whole: bool) -> None:
    model = sequence_towers(whole)
    vectors = model.item(torch.arange(6))
    actions, other = torch.tensor([[0, 1, 2, PAD]]), torch.tensor([[0, 1, 3, PAD]])
    place = 2 if whole else 1  # where action 2 is the target
    assert torch.allclose(model.user(vectors, actions)[0, place], model.user(vectors, other)[0, place])
    assert not torch.allclose(model.last(vectors, actions), model.last(vectors, other))
    assert torch.allclose(model.last(vectors, actions), model.last(vectors, actions[:, :3]))
    assert torch.allclose(vectors.norm(dim=1), torch.ones(6))


def test_features_are_numbered_from_one() -> None:
    features = sp.csr_matrix([[0, 1, 1], [0, 0, 0], [1, 0, 0]])
    assert padded_features(features).tolist() == [[2, 3], [0, 0], [1, 0]]


def test_towers_learn_what_comes_next_and_are_kept(tmp_path: Path) -> None:
    problem, _ = named("beauty-full").load(write_beauty(tmp_path))
    parameters = {"epochs": 40, "width": 16, "negatives": ITEMS, "batch": 8, "learning_rate": 0.01}
    told: list[int] = []
    inputs = Inputs(log=problem.final, problem=problem, parameters=parameters, seed=1,
                    report=lambda name, done, total: told.append(done), kept=tmp_path / "kept")  # fmt: skip
    first = towers(inputs)(problem.asked.users)
    ranked = top(first.copy(), problem.final, problem.asked, 3)
    last = np.array([problem.final.history(user)[-1] for user in problem.asked.users])
    follows = {int(a): int(b) for u in range(problem.final.users)
               for a, b in zip(problem.final.history(u), problem.final.history(u)[1:], strict=False)}  # fmt: skip
    found = [follows[int(item)] in row for item, row in zip(last, ranked, strict=True) if int(item) in follows]
    assert np.mean(found) > 0.8  # an item's follower is always the same
    assert told == list(range(1, 41))
    again = towers(inputs)(problem.asked.users)
    assert told == list(range(1, 41))  # found again, not trained again
    assert np.array_equal(again, first)
