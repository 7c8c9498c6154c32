"""The schema is consistent and its hash moves with everything that changes a value or its place."""

from dataclasses import replace

import pytest

from feature_repo.schema import SCHEMA, Feature, Schema, country_code, language_code


def test_names_are_unique_and_carry_their_group() -> None:
    names = [feature.name for feature in SCHEMA.features]
    assert len(set(names)) == len(names)
    prefixes = {group: group for group in ("user", "item", "content", "context", "cross")} | {"history": "user"}
    assert all(feature.name.startswith(f"{prefixes[feature.group]}_") for feature in SCHEMA.features)
    with pytest.raises(ValueError, match="named twice: user_age"):
        Schema((*SCHEMA.features, SCHEMA.by_name["user_age"]))


def test_the_ranker_sees_a_hundred_features() -> None:
    counts = SCHEMA.counts()
    assert counts["ranker"] >= 100
    assert all(counts[group] > 0 for group in ("user", "item", "context", "cross"))
    assert len(SCHEMA.ranker_names) >= counts["ranker"]


def test_every_feature_says_what_it_is_where_it_comes_from_and_who_answers_for_it() -> None:
    assert all(f.description and f.source and f.owner for f in SCHEMA.features)


def test_offsets_count_columns_of_the_features_before() -> None:
    assert SCHEMA.offset("user_age") == 0
    assert SCHEMA.offset("user_brand_affinity") - SCHEMA.offset("user_category_affinity") == 32
    last = SCHEMA.group("item")[-1]
    assert SCHEMA.offset(last.name) + last.width == SCHEMA.width("item")


@pytest.mark.parametrize("change", [{"default": 1.5}, {"ranker": False}, {"name": "user_years"}])
def test_hash_changes_with_what_changes_a_value(change: dict[str, object]) -> None:
    first, *rest = SCHEMA.features
    assert Schema((replace(first, **change), *rest)).hash != SCHEMA.hash  # type: ignore[arg-type]


def test_hash_changes_with_order_and_ignores_descriptions() -> None:
    first, second, *rest = SCHEMA.features
    assert Schema((second, first, *rest)).hash != SCHEMA.hash
    assert Schema((replace(first, description="other words"), second, *rest)).hash == SCHEMA.hash


@pytest.mark.parametrize(
    "bad",
    [{"kind": "vector"}, {"width": 3}, {"kind": "code"}, {"cardinality": 4}, {"dtype": "int64"},
     {"kind": "code", "dtype": "uint8", "cardinality": 257}],
)  # fmt: skip
def test_a_kind_that_does_not_fit_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="feature user_x"):
        Feature(name="user_x", group="user", description="", source="", owner="", **bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("country", "code"), [("AA", 1), ("ZZ", 676), ("us", 539), ("DE", 83)])
def test_country_codes(country: str, code: int) -> None:
    assert country_code(country) == code


@pytest.mark.parametrize(("tag", "like"), [("de", "de"), ("pt-BR", "pt"), ("zh_Hant", "zh"), ("EN", "en")])
def test_a_language_counts_by_its_first_part(tag: str, like: str) -> None:
    assert language_code(tag) == language_code(like) > 0
    assert language_code(None) == language_code("klingon") == 0


@pytest.mark.parametrize("country", [None, "", "U", "USA", "U1", "ÄÖ"])
def test_anything_else_is_no_country(country: str | None) -> None:
    assert country_code(country) == 0
