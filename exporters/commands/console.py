"""What every command says in the same way: steps and tables to stderr, one JSON document to stdout."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="last line of stdout is one JSON document")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="only say what would change")]
Reason = Annotated[str, typer.Option(help="why, for the record and the logs")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="seconds to wait for another publisher")]
console = Console(stderr=True)


def report(step: str) -> None:
    """One step of a longer command."""
    console.print(f"  {step}", style="dim", markup=False)


def say(text: str) -> None:
    """A sentence to a person."""
    console.print(text, highlight=False, markup=False)


def show_rows(rows: Sequence[Mapping[str, object]]) -> None:
    """Rows with the same keys as a table."""
    if rows:
        table = Table(*rows[0])
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row.values()))
        console.print(table)


def finish(result: Mapping[str, Any], as_json: bool) -> None:
    """The JSON document, where it was asked for."""
    if as_json:
        sys.stdout.write(json.dumps(result, default=str) + "\n")
