"""Documents whose figures come from stored results: blocks between markers, rendered and compared.

In README.md and docs/*.md, `<!-- figures: NAME -->` … `<!-- /figures -->` holds what `perf.figures.BLOCKS[NAME]`
makes of perf/results: a table of its own, or words inside a sentence.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from deploy.settings import ROOT
from perf.errors import PerfError
from perf.fields import render
from perf.results import FOLDER, read

START, END = re.compile(r"<!-- figures: (\S+) -->"), "<!-- /figures -->"
Source = Callable[[str], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A table's row: the result file its fields are of, and a template for each cell."""

    source: str
    cells: tuple[str, ...]

    def text(self, read_source: Source) -> str:
        """The row in Markdown."""
        return f"| {' | '.join(render(cell, read_source(self.source)) for cell in self.cells)} |"


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table, on lines of its own."""

    header: tuple[str, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        """Refuse rows of another width."""
        if odd := [row.cells[0] for row in self.rows if len(row.cells) != len(self.header)]:
            raise ValueError(f"{odd[0]!r} has not {len(self.header)} cells")

    def text(self, read_source: Source) -> str:
        """The table in Markdown, blank lines around it."""
        head = [f"| {' | '.join(self.header)} |", "|" + "---|" * len(self.header)]
        return "\n\n" + "\n".join([*head, *(row.text(read_source) for row in self.rows)]) + "\n\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """A few words inside a sentence."""

    source: str
    template: str

    def text(self, read_source: Source) -> str:
        """The words."""
        return render(self.template, read_source(self.source))


Blocks = Mapping[str, Table | Words]


def documents(root: Path = ROOT) -> list[Path]:
    """The documents that may show figures."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def updated(text: str, blocks: Blocks, read_source: Source) -> str:
    """A document with every block as the stored results have it. Raises PerfError for an unknown or open block."""
    before, *parts = START.split(text)
    found = [before]
    for name, part in zip(parts[::2], parts[1::2], strict=True):
        _, end, after = part.partition(END)
        if name not in blocks or not end:
            raise PerfError(f"figures: {name} " + ("has no end" if name in blocks else f"is not one of {list(blocks)}"))
        found += [f"<!-- figures: {name} -->", blocks[name].text(read_source), end, after]
    return "".join(found)


def stale(blocks: Blocks, root: Path = ROOT, results: Path = FOLDER) -> dict[Path, str]:
    """{document: its text as it should be} of those that differ from the stored results. Raises PerfError."""
    read_source = lru_cache(lambda name: read(results / name))
    texts = {path: path.read_text() for path in documents(root)}
    shown = {name for text in texts.values() for name in START.findall(text)}
    if unused := sorted(blocks.keys() - shown):
        raise PerfError(f"figures: no document shows {unused[0]}; remove it from perf/figures.py or mark its place")
    fresh = {path: updated(text, blocks, read_source) for path, text in texts.items()}
    return {path: text for path, text in fresh.items() if text != texts[path]}
