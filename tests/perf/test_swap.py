"""Swaps: a rotation changes no similarity, an answer of two releases is noticed, and the figures are what they say."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest

from exporters.generation import Chunk
from exporters.graphs import gate_graphs
from exporters.table import ItemTable
from feature_repo.schema import CONTENT_WIDTH, ITEM_WIDTH, USER_WIDTH
from feature_repo.vectors import Floats
from model_repository.contract import EMBEDDING_WIDTH
from perf.load.answer import NONE, OK, TIMEOUT, WRONG, Answer
from perf.load.outcome import Outcome
from perf.swap.check import LEAST, Checker, Nearest, nearest
from perf.swap.cycle import Cycle, Swaps
from perf.swap.pair import pair_settings, rotated_line, rotation
from perf.swap.plot import plot
from tests.ports import isolated_settings
from training.lines import FACTS, WEIGHTS, Line, write_json
from training.matrices import Graphs, export_assembler, export_towers
from training.models.towers import TwoTower

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


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


def test_a_rotated_line_passes_the_gates(lines: tuple[Line, Line]) -> None:
    gate_graphs(lines[1].folder, rows(5, USER_WIDTH), rows(5, ITEM_WIDTH), rows(5, CONTENT_WIDTH))


class Catalogue:
    """2000 items with random vectors; their table is not looked at."""

    name, items = "random", 2000
    queries: Floats | None = None

    def __init__(self, turn: Floats) -> None:
        self.vectors = np.random.default_rng(5).standard_normal((2000, EMBEDDING_WIDTH), np.float32) @ turn.T

    def chunks(self) -> Iterator[Chunk]:
        none = np.zeros((1000, 0), np.float32)
        table = ItemTable(ids=[""] * 1000, features=none, rules=none, regions=[()] * 1000, display=[{}] * 1000)
        yield table, self.vectors[:1000]
        yield table, self.vectors[1000:]


def test_an_embedding_of_one_line_finds_little_in_the_other(lines: tuple[Line, Line]) -> None:
    users = rows(20, USER_WIDTH)
    for line, other, turn in ((*lines, np.eye(EMBEDDING_WIDTH, dtype=np.float32)), (*lines[::-1], rotation(1))):
        catalogue = Catalogue(turn)
        known = nearest(line, catalogue, users)
        for asked, least, most in ((line, 1.0, 1.0), (other, 0.0, LEAST - 0.1)):
            found = np.argsort(-Graphs(asked.folder).embed_users(users) @ catalogue.vectors.T, axis=1)[:, :20]
            shares = [known.share(user, found[user]) for user in range(20)]
            assert least <= min(shares) <= max(shares) <= most


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


def cycle(made: Outcome, started: float = 50.15) -> Cycle:
    return Cycle(release=1, rate=10.0, outcome=made, started=started, published=started + 0.2, retired=started + 1.6)


def test_failed_mixed_and_degraded_are_three_things() -> None:
    answers = (Answer(OK, "1", NONE), Answer("503"), Answer(WRONG, "1", NONE), Answer(OK, "1", "L4"), TIMEOUT)
    made = cycle(outcome([1.0] * 10, answers, [0, 3, 1, 2, 2, 3, 3, 3, 4, 0]))
    assert (made.failed, made.mixed, made.degraded) == (2, 2, 4)


def test_degraded_answers_are_told_by_window() -> None:
    answers = (Answer(OK, "1", NONE), Answer(OK, "1", "L4"))
    made = cycle(outcome([1.0] * 21, answers, [0, 1, 0, 1, 1, *[0] * 16]))
    assert [made.degraded_in(window) for window in ("steady", "swap", "retire")] == [(1, 2), (2, 12), (0, 4)]
    figures = Swaps(cycles=(made,)).as_dict()
    assert figures["degraded_percent"] == {"steady": 50.0, "swap": 16.667, "retire": 0.0}


def test_windows_begin_and_end_with_the_steps_of_a_swap() -> None:
    made = cycle(outcome([float(n) for n in range(1, 22)], (Answer(OK, "1", NONE),), [0] * 21))
    assert np.allclose(made.steady_ms, [1, 2])  # due before publishing began, 0.2 s after the first
    assert np.allclose(made.swap_ms, np.arange(3, 15))  # until a second after it ended
    assert np.allclose(made.retire_ms, np.arange(15, 19))
    assert np.allclose((made.publish_s, made.retire_s), (0.2, 1.4))


def swaps(during: list[float], steady: list[float], answers: tuple[Answer, ...] = (Answer(OK, "1", NONE),)) -> Swaps:
    """A cycle for each: 0.2 s of the steady latency, then the swap's."""
    made = [
        cycle(outcome([before] * 2 + [within] * 19, answers, [0] * 21))
        for before, within in zip(steady, during, strict=True)
    ]
    return Swaps(cycles=tuple(made))


@pytest.mark.parametrize(
    ("during", "steady", "within"), [(29.0, 10.0, True), (31.0, 10.0, False), (140.0, 100.0, True)]
)
def test_the_limit_is_a_factor_or_milliseconds(during: float, steady: float, within: bool) -> None:
    assert swaps([during], [steady]).as_dict()["passed"] is within


@pytest.mark.parametrize("answer", [Answer(WRONG, "1", NONE), Answer("503"), TIMEOUT])
def test_nothing_passes_with_a_failed_or_mixed_answer(answer: Answer) -> None:
    assert swaps([10.0], [10.0], (answer,)).as_dict()["passed"] is False


def test_the_median_swap_is_held_against_the_median_steady_window() -> None:
    figures = swaps([10.0, 20.0, 90.0], [5.0, 4.0, 50.0]).as_dict()
    assert figures["p99_ratio"] == 4.0
    assert figures["p99_added_ms"] == 15.0
    assert figures["steady_p99_ms"] == 5.0
    assert figures["swaps"] == 3


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    plot(swaps([10.0, 20.0], [5.0, 5.0]), tmp_path / "swap.png")
    assert (tmp_path / "swap.png").stat().st_size > 10_000


def test_a_pair_names_its_folder(tmp_path: Path) -> None:
    assert pair_settings(isolated_settings(tmp_path), 1000, None).home.name.endswith("-pair")
