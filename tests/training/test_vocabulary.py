"""Codes stay where they are while they mean something: models were trained on them."""

import pytest

from training.pipeline.vocabulary import Vocabulary, inherited


def words(categories: str, edges: tuple[float, ...] = (1.0, 2.0)) -> Vocabulary:
    return Vocabulary(categories=tuple(categories), brands=(), price_edges=edges)


@pytest.mark.parametrize(
    ("fresh", "previous", "kept"),
    [
        ("bac", "abc", "abc"),  # ranks swapped
        ("abd", "abc", "abd"),  # c is rare now, d takes its place
        ("xyz", "abc", "xyz"),  # another catalogue
        ("cabde", "abc", "abcde"),  # more than before
        ("a", "abc", "abc"),  # fewer: nothing to put there
        ("abc", "", "abc"),
    ],
)
def test_a_name_keeps_its_code_while_it_is_frequent(fresh: str, previous: str, kept: str) -> None:
    assert "".join(inherited(words(fresh), words(previous)).categories) == kept


@pytest.mark.parametrize(
    ("fresh", "previous", "kept"),
    [((1.05, 2.0), (1.0, 2.0), (1.0, 2.0)), ((1.5, 2.0), (1.0, 2.0), (1.5, 2.0)), ((1.0,), (1.0, 2.0), (1.0,))],
)
def test_price_edges_stay_until_prices_move(
    fresh: tuple[float, ...], previous: tuple[float, ...], kept: tuple[float, ...]
) -> None:
    assert inherited(words("a", fresh), words("a", previous)).price_edges == kept
