"""`python -m perf figures`."""

from typing import Annotated

import typer

from perf.console import console


def figures(
    check: Annotated[bool, typer.Option("--check", help="change nothing; exit code 2 if stale")] = False,
) -> None:
    """Write the figures of README.md and docs/*.md from the stored results."""
    from deploy.settings import ROOT
    from perf.documents import stale
    from perf.errors import PerfError
    from perf.figures import BLOCKS

    found = stale(BLOCKS)
    names = ", ".join(str(path.relative_to(ROOT)) for path in found)
    if check and found:
        raise PerfError(f"{names}: figures differ from perf/results; run `python -m perf figures`")
    for path, text in found.items():
        path.write_text(text)
    console.print(f"rewritten: {names}" if found else "all figures are current")
