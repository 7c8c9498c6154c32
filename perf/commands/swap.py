"""`python -m perf swap`."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.settings import load_settings
from perf.console import Json, console, finish


def swap(
    items: Annotated[int, typer.Option(min=1000, help="size of both catalogues")] = 200_000,
    trees: Annotated[str, typer.Option(help="size of the forest; empty: the trained one")] = "100x64",
    swaps: Annotated[int, typer.Option(min=1)] = 20,
    rate: Annotated[float | None, typer.Option(min=0.1, max=1e6, help="requests/s, not a share of the knee")] = None,
    share: Annotated[float, typer.Option(min=0.05, max=1.0, help="of the knee")] = 0.5,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    samples: Annotated[Path | None, typer.Option(help="also write every request's times to this folder")] = None,
    save: Annotated[Path | None, typer.Option(help="also write the document there, and a .png beside it")] = None,
    as_json: Json = False,
) -> None:
    """Swap two stamped, rotated releases under load: latency during a swap, and whether any answer mixes the two."""
    from perf.catalogue.forest import Trees
    from perf.swap.measure import measure
    from perf.swap.plot import plot

    forest = Trees.parse(trees) if trees else None
    measured = measure(load_settings(), items, forest, swaps, rate, share, seed, _report)
    if samples is not None:
        for number, cycle in enumerate(measured.swaps.cycles, 1):
            cycle.outcome.save(samples / f"swap-{number:02}.npz")
    if save is not None:
        plot(measured.swaps, save.with_suffix(".png"))
    finish(measured.as_dict(), as_json, save)


def _report(step: str) -> None:
    console.print(f"  [dim]{step}[/dim]")
