"""Swaps: a rotation changes no similarity, an answer of two releases is noticed, and the figures are what they say."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from exporters.graphs import gate_graphs
from feature_repo.schema import CONTENT_WIDTH, ITEM_WIDTH, USER_WIDTH
from model_repository.contract import EMBEDDING_WIDTH
from perf.load.answer import NONE, OK, WRONG, Answer
from perf.load.outcome import Outcome
from perf.swap.check import Checker, Nearest
from perf.swap.pair import rotated_line, rotation
from perf.swap.run import Swap, Swaps, Times, _swap
from training.lines import FACTS, WEIGHTS, Line, write_json
from training.matrices import Graphs, export_assembler, export_towers
from training.models.towers import TwoTower


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> tuple[Line, Line]:
    """A line with untrained towers, and its rotated copy."""
    import torch
    from safetensors.torch import save_model

    folder = tmp_path_factory.mktemp("lines") / "1"
    folder.mkdir()
    torch.manual_seed(0)
    towers = TwoTower().eval()
    save_model(towers, str(folder / WEIGHTS))
    export_towers(towers, folder)
    export_assembler(folder)
    write_json(folder / FACTS, {"line": 1})
    return Line(1, folder), rotated_line(Line(1, folder), folder.parent / "2", rotation(1))


def rows(count: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, width), np.float32)


def test_a_rotation_is_one() -> None:
    turn = rotation(3)
    assert np.allclose(turn @ turn.T, np.eye(EMBEDDING_WIDTH), atol=1e-5)
    assert not np.allclose(turn, rotation(4))


@pytest.mark.filterwarnings("ignore")
def test_similarities_stay_within_a_line_and_vanish_across(lines: tuple[Line, Line]) -> None:
    one, two = (Graphs(line.folder) for line in lines)
    users, items, content = rows(20, USER_WIDTH), rows(30, ITEM_WIDTH), rows(30, CONTENT_WIDTH)
    plain = one.embed_users(users) @ one.embed_items(items, content).T
    turned = two.embed_users(users) @ two.embed_items(items, content).T
    assert np.allclose(plain, turned, atol=1e-4)
    mixed = one.embed_users(users) @ two.embed_items(items, content).T
    assert abs(mixed - plain).max() > 0.3
    assert lines[0].tower_digest != lines[1].tower_digest
    assert lines[0].facts == {"line": 1}  # its files are its own
    assert lines[1].facts == {"line": 2}


@pytest.mark.filterwarnings("ignore")
def test_a_rotated_line_passes_the_gates(lines: tuple[Line, Line]) -> None:
    gate_graphs(lines[1].folder, rows(5, USER_WIDTH), rows(5, ITEM_WIDTH), rows(5, CONTENT_WIDTH))


def body(*item_ids: str) -> bytes:
    return orjson.dumps({"items": [{"item_id": item_id} for item_id in item_ids]})


@pytest.fixture
def checker() -> Checker:
    """Users 0 and 1: nearest are rows 0 to 9 in release 1, 100 to 109 in release 2."""
    nearest = {1: np.tile(np.arange(10), (2, 1)), 2: np.tile(np.arange(100, 110), (2, 1))}
    return Checker({number: Nearest(rows=found) for number, found in nearest.items()})


@pytest.mark.parametrize(
    ("release", "level", "ids", "fine"),
    [
        ("1", NONE, ("a000001", "a000002", "a000500"), True),
        ("2", NONE, ("b000101", "b000102"), True),
        ("1", NONE, ("a000001", "b000101"), False),  # a table of both
        ("2", NONE, ("a000101", "a000102"), False),  # the other's table
        ("2", NONE, ("b000001", "b000002", "b000101"), False),  # the other's embedding: near-random items
        ("2", "L4", ("b000001", "b000002"), True),  # popular items are near nobody
        ("2", "L4", ("a000001",), False),
        ("3", NONE, ("a000001",), False),
    ],
)
def test_a_mixed_answer_is_noticed(
    checker: Checker, release: str, level: str, ids: tuple[str, ...], fine: bool
) -> None:
    assert checker(1, Answer(OK, release, level), body(*ids)) is fine


def test_an_answer_without_items_mixes_nothing(checker: Checker) -> None:
    assert checker(0, Answer(OK, "1", NONE), body())


def outcome(latencies_ms: list[float], answers: tuple[Answer, ...], answer: list[int]) -> Outcome:
    """A request every 0.1 s."""
    intended = np.arange(len(latencies_ms)) / 10
    done = intended + np.array(latencies_ms) / 1000
    return Outcome(
        seconds=len(latencies_ms) / 10, intended_s=intended, started_s=intended, sent_s=intended, done_s=done,
        user=np.zeros(len(latencies_ms), np.int64), answer=np.array(answer, np.int16), answers=answers,
        answered_per_second=10.0, waited=0, generator_cpu_ms=0.1, zero=50.0,
    )  # fmt: skip


def test_failed_mixed_and_degraded_are_counted_apart() -> None:
    answers = (Answer(OK, "1", NONE), Answer("503"), Answer(WRONG, "1", NONE), Answer(OK, "1", "L4"))
    made = outcome([1.0] * 8, answers, [0, 0, 1, 2, 2, 3, 3, 3])
    times = Times(started=50.2, published=50.4, retired=51.0)
    swap = _swap(1, times, made, made.latency_between(0.0, 0.2), made.latency_between(0.2, 0.4))
    assert (swap.requests, swap.failed, swap.mixed, swap.degraded) == (8, 1, 2, 3)
    assert (swap.publish_s, swap.retire_s) == (0.2, 0.6)


def test_a_window_holds_what_was_due_in_it() -> None:
    made = outcome([1.0, 2.0, 3.0, 4.0], (Answer(OK, "1", NONE),), [0, 0, 0, 0])
    assert np.allclose(made.latency_between(0.1, 0.3), [2.0, 3.0])


def swaps(during: list[float], steady: list[float]) -> Swaps:
    made = [
        Swap(
            release=1, publish_s=1.0, retire_s=1.0, requests=10, failed=0, mixed=0, degraded=0,
            steady_p99_ms=0.0, swap_p99_ms=value, swap_max_ms=value,
        )
        for value in during
    ]  # fmt: skip
    return Swaps(rate=10.0, swaps=tuple(made), steady_ms=np.array(steady))


@pytest.mark.parametrize(
    ("during", "steady", "within"), [([29.0], 10.0, True), ([31.0], 10.0, False), ([140.0], 100.0, True)]
)
def test_the_limit_is_a_factor_or_milliseconds(during: list[float], steady: float, within: bool) -> None:
    assert swaps(during, [steady] * 100).as_dict()["within_limits"] is within


def test_the_median_swap_is_held_against_all_steady_windows() -> None:
    figures = swaps([10.0, 20.0, 90.0], [*[5.0] * 99, 10.0]).as_dict()
    assert figures["p99_ratio"] == 4.0
    assert figures["p99_added_ms"] == 15.0
    assert figures["swaps"] == 3


def test_a_pair_names_its_folder(tmp_path: Path) -> None:
    from perf.swap.pair import pair_settings
    from tests.ports import isolated_settings

    assert pair_settings(isolated_settings(tmp_path), 1000, None).home.name.endswith("-pair")
