"""`python -m perf pipeline`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deploy.settings import load_settings
from perf.console import Json, finish, show


def pipeline(
    events: Annotated[list[int] | None, typer.Option(min=1000, help="events of a size; may be repeated")] = None,
    keep: Annotated[bool, typer.Option(help="keep the generated workspaces")] = False,
    save: Annotated[Path | None, typer.Option(help="also write the document there, and a .png beside it")] = None,
    as_json: Json = False,
) -> None:
    """Validation and features over generated events of growing number: seconds, memory, slope. Needs no stack."""
    from perf.pipeline.growth import Size, measure, slope
    from perf.pipeline.plot import plot
    from training.machine import facts

    sizes: list[Size] = []
    for size in measure(load_settings(), events or (1_000_000, 10_000_000, 50_000_000), keep):
        sizes.append(size)
        show([asdict(size)])
    show([asdict(size) for size in sizes])
    if save is not None:
        plot(sizes, save.with_suffix(".png"))
    finish({"machine": facts(), "sizes": [asdict(size) for size in sizes], "slope": slope(sizes)}, as_json, save)
