"""`python -m perf drill`."""

from typing import Annotated

import typer

from deploy.settings import load_settings
from perf.console import Json, Save, console, finish


def drill(
    names: Annotated[list[str] | None, typer.Argument(help="which ones; none or `all`: every one")] = None,
    listed: Annotated[bool, typer.Option("--list", help="name them and stop")] = False,
    save: Save = None,
    as_json: Json = False,
) -> None:
    """Break a real stack in every way of docs/reliability.md and look at the answers; exit code 1 when one fails."""
    from perf.drill.registry import chosen
    from perf.drill.report import Result
    from perf.drill.run import as_document, run

    drills = chosen(names or [])
    if listed:
        for one in drills:
            typer.echo(f"{one.name:24} {one.fault:>2}  {one.what}")
        return

    def told(result: Result) -> None:
        said = result.as_dict()
        colour, word = ("green", "passed") if result.passed else ("red", "FAILED")
        console.print(
            f"[{colour}]{word}[/] {result.drill.name} ({result.seconds:.0f} s): {said['detail']}", soft_wrap=True
        )

    document = as_document(run(load_settings(), drills, told))
    finish(document, as_json, save)
    if not document["passed"]:
        raise typer.Exit(1)
