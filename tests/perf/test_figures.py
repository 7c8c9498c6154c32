"""Every figure in the documents is the stored result's, and one that is not is found."""

import shutil
from pathlib import Path

import pytest

from deploy.settings import ROOT
from perf.documents import Row, Table, Words, documents, stale, updated
from perf.errors import PerfError
from perf.fields import evaluate, render
from perf.figures import BLOCKS

RESULT = {
    "wall_s": 183.6,
    "statuses": {"200": 4000},
    "models": [{"model": "ranker", "rate": 50.0, "p99": 4.25}, {"model": "ranker", "rate": 62.5, "p99": 5.0}],
    "store": [{"store": "packed rows", "bytes": 860}],
}


def test_the_documents_show_what_is_stored() -> None:
    assert sorted(path.name for path in stale(BLOCKS)) == [], "run `python -m perf figures`"


def copied(folder: Path) -> Path:
    for path in documents():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    return folder


def test_a_changed_number_in_the_readme_is_found_and_put_right(tmp_path: Path) -> None:
    root = copied(tmp_path)
    readme = root / "README.md"
    right = readme.read_text()
    line = next(line for line in BLOCKS["measured"].text(_stored).splitlines() if "recommendations, from raw" in line)
    assert line in right
    readme.write_text(right.replace(line, line.replace(" s |", "9 s |")))
    assert stale(BLOCKS, root) == {readme: right}


def _stored(name: str) -> dict[str, object]:
    from perf.results import FOLDER, read

    return read(FOLDER / name)


def test_a_block_that_no_document_shows_is_found(tmp_path: Path) -> None:
    with pytest.raises(PerfError, match="no document shows unused"):
        stale({**BLOCKS, "unused": Words(source="x.json", template="")}, copied(tmp_path))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{wall_s:.0f} s", "184 s"),
        ("{wall_s / 60:.1f} min", "3.1 min"),
        ("{wall_s + wall_s / 2:.1f}", "183.6"),
        ("{statuses.200:,} of 4,000", "4,000 of 4,000"),
        ("{models[1].p99:.2f}", "5.00"),
        ("{models[model=ranker,rate=62.5].p99 / models[model=ranker,rate=50].p99:.2f} ×", "1.18 ×"),
        ("{store[store=packed rows].bytes}", "860"),
        ("no field", "no field"),
    ],
)
def test_fields(template: str, text: str) -> None:
    assert render(template, RESULT) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{wall:.0f}", "wall: there is no wall"),
        ("{models[model=ranker].p99}", "there is no model=ranker"),  # two rows
        ("{models[rate=99].p99}", "there is no rate=99"),
        ("{models[2].p99}", "there is no 2"),
        ("{statuses:.1f}", "unsupported format string"),
        ("{wall_s / 0:.1f}", "division by zero"),
        ("{wall_s ^ 2:.1f}", r"\^ is not one of"),
    ],
)
def test_a_field_that_does_not_resolve_is_named(template: str, message: str) -> None:
    with pytest.raises(PerfError, match=message):
        render(template, RESULT)


def test_a_row_with_another_value_beside_it_is_not_taken() -> None:
    assert evaluate("models[rate=50].p99", RESULT) == 4.25


def test_blocks_are_replaced_in_place() -> None:
    blocks = {
        "t": Table(header=("what", "s"), rows=(Row(source="r.json", cells=("wall", "{wall_s}")),)),
        "w": Words(source="r.json", template="{wall_s:.0f}"),
    }
    text = "a\n<!-- figures: t -->old<!-- /figures -->\nb <!-- figures: w -->1<!-- /figures --> c\n"
    assert updated(text, blocks, lambda name: RESULT) == (
        "a\n<!-- figures: t -->\n\n| what | s |\n|---|---|\n| wall | 183.6 |\n\n<!-- /figures -->\n"
        "b <!-- figures: w -->184<!-- /figures --> c\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [("<!-- figures: x -->1<!-- /figures -->", "x is not one of"), ("<!-- figures: w -->1", "w has no end")],
)
def test_bad_markers_are_named(text: str, message: str) -> None:
    with pytest.raises(PerfError, match=message):
        updated(text, {"w": Words(source="r.json", template="1")}, lambda name: RESULT)


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="has not 2 cells"):
        Table(header=("what", "s"), rows=(Row(source="r.json", cells=("wall",)),))
