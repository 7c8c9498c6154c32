"""Only what is new or changed is encoded, and what is known is known to the last bit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exporters.embeddings import AGE_STEP, AGES, FILE, Embeddings, forget_towers, input_digests
from exporters.errors import GateError
from feature_repo.schema import CONTENT_WIDTH, ITEM_WIDTH, SCHEMA
from feature_repo.vectors import Floats, Ints
from model_repository.contract import EMBEDDING_WIDTH

N = 40
Change = Callable[[Floats, Floats], None]


def given(seed: int = 1) -> tuple[Ints, Floats, Floats]:
    rng = np.random.default_rng(seed)
    keys = rng.integers(-(2**62), 2**62, N)
    features, content = rng.gamma(1.0, 20.0, (N, ITEM_WIDTH)), rng.normal(size=(N, CONTENT_WIDTH))
    return keys, features.astype(np.float32), content.astype(np.float32)


class Tower:
    """Answers rows that differ, and remembers how many it was asked for."""

    def __init__(self, answer: float = 0.0) -> None:
        self.asked: list[int] = []
        self._answer = answer

    def __call__(self, features: Floats, content: Floats) -> Floats:
        self.asked.append(len(features))
        sums: Floats = features.sum(1) + content.sum(1) + np.float32(self._answer)
        return np.repeat(sums[:, None], EMBEDDING_WIDTH, 1)


def none(features: Floats, content: Floats) -> Floats:
    raise AssertionError("nothing is to be encoded")


def test_the_first_time_everything_is_encoded_then_nothing(tmp_path: Path) -> None:
    items, tower = given(), Tower()
    first = Embeddings(tmp_path, *items)
    assert (len(first.missing), first.current) == (N, False)
    vectors = first.vectors(tower)
    again = Embeddings(tmp_path, *items)
    assert (len(again.missing), again.current) == (0, True)
    np.testing.assert_array_equal(again.vectors(none), vectors)
    np.testing.assert_array_equal(vectors, Tower()(*items[1:]))


def last_feature(features: Floats, content: Floats) -> None:
    features[7, -1] += 0.5


def last_of_the_content(features: Floats, content: Floats) -> None:
    content[7, -1] += 0.5


@pytest.mark.parametrize("change", [last_feature, last_of_the_content])
def test_a_changed_item_alone_is_encoded_again(tmp_path: Path, change: Change) -> None:
    keys, features, content = given()
    before = Embeddings(tmp_path, keys, features, content).vectors(Tower())
    change(features, content)
    later = Embeddings(tmp_path, keys, features, content)
    assert later.missing.tolist() == [7]
    vectors = later.vectors(Tower(answer=1.0))
    assert (np.flatnonzero((vectors != before).any(1))).tolist() == [7]
    assert Embeddings(tmp_path, keys, features, content).current


def test_items_come_go_and_change_places(tmp_path: Path) -> None:
    keys, features, content = given()
    before = Embeddings(tmp_path, keys[1:], features[1:], content[1:]).vectors(Tower())
    order = np.random.default_rng(2).permutation(N - 1)  # the last one is gone, the first one is new
    later = Embeddings(tmp_path, keys[order], features[order], content[order])
    assert order[later.missing].tolist() == [0]
    vectors = later.vectors(Tower())
    np.testing.assert_array_equal(vectors[order > 0], before[order[order > 0] - 1])
    assert not Embeddings(tmp_path, keys[1:], features[1:], content[1:]).current  # what is gone is forgotten


def test_less_items_and_nothing_new_is_not_current(tmp_path: Path) -> None:
    keys, features, content = given()
    Embeddings(tmp_path, keys, features, content).vectors(Tower())
    fewer = Embeddings(tmp_path, keys[1:], features[1:], content[1:])
    assert (len(fewer.missing), fewer.current) == (0, False)
    fewer.vectors(none)
    assert Embeddings(tmp_path, keys[1:], features[1:], content[1:]).current


@pytest.mark.parametrize("name", AGES)
def test_an_age_counts_in_steps_of_the_towers_own_scale(name: str) -> None:
    _, features, content = given()
    column = SCHEMA.offset(name)
    features[:, column] = np.expm1(AGE_STEP * np.arange(100, 100 + N))
    before = input_digests(features, content)
    features[:, column] = np.expm1(AGE_STEP * (np.arange(100, 100 + N) + 0.4))
    assert (input_digests(features, content) == before).all()
    features[:, column] = np.expm1(AGE_STEP * (np.arange(100, 100 + N) + 0.6))
    assert (input_digests(features, content) != before).all()
    features[:, column] = np.expm1(AGE_STEP * np.arange(100, 100 + N))
    features[:, (column + 1) % ITEM_WIDTH] *= 1.001  # everything else counts to the last bit
    assert (input_digests(features, content) != before).all()


def test_a_tower_that_answers_nan_leaves_what_was_known(tmp_path: Path) -> None:
    items = given()
    with pytest.raises(GateError, match=f"non-finite vectors for {N} items"):
        Embeddings(tmp_path, *items).vectors(Tower(answer=np.nan))
    assert not (tmp_path / FILE).exists()


def test_a_torn_file_is_as_good_as_none(tmp_path: Path) -> None:
    items = given()
    Embeddings(tmp_path, *items).vectors(Tower())
    whole = (tmp_path / FILE).read_bytes()
    for torn in (whole[:-1], whole[:50], b"", b"nonsense"):
        (tmp_path / FILE).write_bytes(torn)
        assert len(Embeddings(tmp_path, *items).missing) == N
    np.save(tmp_path / FILE, np.zeros((N, 3)))
    assert len(Embeddings(tmp_path, *items).missing) == N


def test_towers_that_nothing_is_served_with_are_forgotten(tmp_path: Path) -> None:
    for digest in ("aa", "bb"):
        Embeddings(tmp_path / digest, *given()).vectors(Tower())
    forget_towers(tmp_path, {"bb"})
    assert [tower.name for tower in tmp_path.iterdir()] == ["bb"]
    forget_towers(tmp_path / "nowhere", {"bb"})
