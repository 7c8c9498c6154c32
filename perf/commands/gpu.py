"""`python -m perf gpu`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from deploy.settings import load_settings
from perf.console import Json, console, finish, show

Out = Annotated[Path, typer.Option(help="folder of the cells; a run continues what is there")]


def gpu(
    out: Out = Path("gpu-suite"),
    part: Annotated[Literal["candidates", "ranker", "towers", "path", "all"], typer.Option()] = "all",
    device: Annotated[Literal["cuda", "cpu"], typer.Option(help="cpu: the same suite without a GPU")] = "cuda",
    items: Annotated[list[int] | None, typer.Option(min=1, help="catalogue size; may be repeated")] = None,
    vectors: Annotated[Literal["trained", "mixture"], typer.Option(help="what is searched")] = "trained",
    files: Annotated[tuple[Path, Path] | None, typer.Option(help="instead: .npy of vectors, .npy of queries")] = None,
    seconds_per_part: Annotated[float, typer.Option(min=0, help="a part starts no cell after this time")] = 420.0,
    report: Annotated[bool, typer.Option("--report", help="measure nothing: write report.md, curves.*")] = False,
    as_json: Json = False,
) -> None:
    """Candidates, ranker, towers and the whole path on a GPU; exit code 3 while cells are missing for lack of time."""
    from perf.gpu.report import write_report

    if report:
        finish(write_report(out), as_json)
        return
    from perf.gpu.cells import Cells, Status
    from perf.gpu.device import open_device
    from perf.gpu.suite import PARTS, Choice, Part, rows, run_part

    opened, choice = open_device(device), Choice(items=tuple(items or Choice().items), vectors=vectors, files=files)
    outcome: dict[Part, dict[str, Status]] = {}
    for name in PARTS if part == "all" else (part,):
        cells = Cells(folder=out, device=opened, seconds=seconds_per_part, say=lambda line: console.print(line))
        outcome[name] = run_part(cells, name, load_settings(), choice)
    found = rows(out, outcome)
    show(found)
    finish({"device": opened.facts(), "cells": found}, as_json)
    if any(row["status"] == "waiting" for row in found):
        raise typer.Exit(3)
    if any(row["status"] == "failed" for row in found):
        raise typer.Exit(1)
