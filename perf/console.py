"""What every command of the CLI does with its figures: a table on stderr, JSON on stdout, a file where asked."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from perf.results import stamped, store

Json = Annotated[bool, typer.Option("--json", help="last line of stdout is one JSON document")]
Save = Annotated[Path | None, typer.Option(help="also write the document to this file")]
console = Console(stderr=True, width=None if sys.stderr.isatty() else 160)  # a log has no width of its own


def show(rows: Sequence[Mapping[str, object]]) -> None:
    """A row for each measurement; a single one stands upright."""
    if len(rows) == 1:
        table = Table("figure", "value")
        for name, value in rows[0].items():
            table.add_row(name, str(value))
    else:
        table = Table(*(rows[0] if rows else ["nothing measured"]))
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
    console.print(table)


def finish(result: Mapping[str, object], as_json: bool, save: Path | None = None) -> None:
    """Write the document, with the machine and the run, where it was asked for."""
    document = stamped(result)
    if save is not None:
        store(document, save)
    if as_json:
        sys.stdout.write(json.dumps(document) + "\n")
