"""`python -m perf analyze`."""

from typing import Annotated

import typer

from deploy.settings import load_settings
from perf.console import Json, finish, show


def analyze(
    concurrency: Annotated[list[int] | None, typer.Option(help="clients at once; may be repeated")] = None,
    as_json: Json = False,
) -> None:
    """perf_analyzer on each served model and on the whole ensemble, with real input data."""
    from perf.analyze import analyze as measure
    from perf.analyze import as_rows

    rows = as_rows(list(measure(load_settings(), tuple(concurrency or (1, 4)))))
    show(rows)
    finish({"measurements": rows}, as_json)
