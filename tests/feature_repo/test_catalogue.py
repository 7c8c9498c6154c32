"""The catalogue page is what the schema says."""

import re
from dataclasses import replace

from feature_repo.catalogue import KEPT, PAGE, PRIORS, VOCABULARIES, catalogue
from feature_repo.schema import SCHEMA, Schema


def test_the_page_is_what_the_schema_says() -> None:
    assert PAGE.read_text() == catalogue(SCHEMA), f"{PAGE.name}: run `python -m training catalogue`"


def test_every_feature_has_one_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (?:scalar|code|vector|shares|sequence)", catalogue(SCHEMA), re.MULTILINE)
    assert sorted(rows) == sorted(f.name for f in SCHEMA.features)


def test_the_page_moves_with_a_description_and_a_default() -> None:
    first, *rest = SCHEMA.features
    for change in ({"description": "other words"}, {"default": 7.0}, {"ranker": not first.ranker}):
        assert catalogue(Schema((replace(first, **change), *rest))) != catalogue(SCHEMA)  # type: ignore[arg-type]


def test_what_descriptions_refer_to_is_explained() -> None:
    said = " ".join(f.description for f in SCHEMA.features)
    assert set(re.findall(r"[A-Z]+_PRIOR", said)) <= set(PRIORS)
    assert set(re.findall(r"index in ([A-Z]+)", said)) <= set(VOCABULARIES)
    assert {f.group for f in SCHEMA.features} <= set(KEPT)


def test_a_bar_in_a_description_does_not_break_the_table() -> None:
    first, *rest = SCHEMA.features
    page = catalogue(Schema((replace(first, description="a|b"), *rest)))
    assert f"`{first.name}`" in page
    assert "a\\|b" in page
