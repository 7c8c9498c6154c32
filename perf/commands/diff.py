"""`python -m perf diff`."""

from pathlib import Path
from typing import Annotated

import typer

from perf.console import Json, console, finish, show


def diff(
    a: Annotated[Path, typer.Argument(help="stored result")],
    b: Annotated[Path, typer.Argument(help="stored result to hold against it")],
    tolerance: Annotated[float, typer.Option(min=0, help="share of A that a figure may differ by unnoticed")] = 0.1,
    as_json: Json = False,
) -> None:
    """Two stored results: first how machine and run differ, then the figures beyond the tolerance, with B ÷ A."""
    from perf.diff import compare, conditions
    from perf.results import read

    first, second = read(a), read(b)
    said = [{"condition": path, "A": left, "B": right} for path, (left, right) in conditions(first, second).items()]
    changes = compare(first, second)
    rows = [
        {"figure": one.path, "A": one.a, "B": one.b, "ratio": None if one.ratio is None else round(one.ratio, 3)}
        for one in changes
    ]
    beyond = [row for row, change in zip(rows, changes, strict=True) if change.beyond(tolerance)]
    if said:
        show(said)
    if beyond:
        show(beyond)
    console.print(
        f"{len(beyond)} of {len(changes)} figures differ by more than {tolerance:.0%} of A, or are in one only"
    )
    finish({"conditions": said, "tolerance": tolerance, "beyond": len(beyond), "figures": rows}, as_json)
