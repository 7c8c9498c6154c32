"""Codes stay where they are, whatever the catalogue does: models were trained on them."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from feature_repo.schema import CATEGORIES
from training.content import basis
from training.dataset import Dataset
from training.pipeline.vocabulary import Vocabulary, inherited


def words(categories: str, edges: tuple[float, ...] = (1.0, 2.0)) -> Vocabulary:
    return Vocabulary(categories=tuple(categories), brands=(), price_edges=edges)


@pytest.mark.parametrize(
    ("fresh", "previous", "kept"),
    [
        ("bac", "abc", "abc"),  # ranks swapped
        ("abd", "abc", "abcd"),  # c is rare now and stays, d is new
        ("xy", "abc", "abcxy"),
        ("a", "abc", "abc"),
        ("abc", "", "abc"),
    ],
)
def test_a_name_keeps_its_code_and_a_new_one_gets_a_free_one(fresh: str, previous: str, kept: str) -> None:
    assert "".join(inherited(words(fresh), words(previous)).categories) == kept


def test_without_a_free_code_a_new_name_stays_other() -> None:
    names = tuple(str(n) for n in range(CATEGORIES - 2))
    full = inherited(words("ab"), Vocabulary(categories=names, brands=(), price_edges=()))
    assert full.categories == (*names, "a")


@pytest.mark.parametrize(
    ("fresh", "previous", "kept"), [((1.5, 2.0), (1.0, 2.0), (1.0, 2.0)), ((1.0,), (), (1.0,)), ((), (1.0,), (1.0,))]
)
def test_price_edges_stay_once_there_are_any(
    fresh: tuple[float, ...], previous: tuple[float, ...], kept: tuple[float, ...]
) -> None:
    assert inherited(words("a", fresh), words("a", previous)).price_edges == kept


def features(folder: Path, vocabulary: Vocabulary, mean: float = 0.0) -> Dataset:
    folder.mkdir()
    vocabulary.save(folder)
    basis.save(folder, text=basis.Basis(mean=np.full(3, mean, np.float32), axes=np.ones((3, 2), np.float32)))
    return Dataset(folder)


@pytest.mark.parametrize(
    ("now", "mean", "kept"),
    [
        (words("ab"), 0.0, True),
        (words("abc"), 0.0, True),  # what the line knows is where it was
        (words("acb"), 0.0, False),
        (words("a"), 0.0, False),
        (words("ab", (1.0, 2.0, 3.0)), 0.0, False),  # an edge more moves what is above it
        (words("ab"), 1.0, False),
    ],
)
def test_a_line_goes_on_with_features_whose_codes_only_grew(
    tmp_path: Path, now: Vocabulary, mean: float, kept: bool
) -> None:
    then = features(tmp_path / "then", words("ab"))
    facts = orjson.loads(orjson.dumps({"vocabulary": then.vocabulary_digest, "codes": then.codes}))
    assert features(tmp_path / "now", now, mean).keeps_codes_of(facts) is kept
