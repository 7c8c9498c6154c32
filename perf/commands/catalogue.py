"""`python -m perf catalogue`."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.settings import load_settings
from perf.console import Json, console, finish, show

DEFAULT = (100_000, 1_000_000, 10_000_000)


def catalogue(
    items: Annotated[list[int] | None, typer.Option(min=1, help="size of a catalogue; may be repeated")] = None,
    candidates: Annotated[int | None, typer.Option(min=1, help="items ranked for a request")] = None,
    trees: Annotated[str | None, typer.Option(help="forest of that size instead of the trained one: 100x64")] = None,
    rate: Annotated[float | None, typer.Option(min=0.1, max=1e6, help="requests/s for the latency")] = None,
    steady: Annotated[float, typer.Option(min=1, help="seconds of the latency")] = 30.0,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    vectors: Annotated[Path | None, typer.Option(help=".npy with item vectors, instead of drawn ones")] = None,
    queries: Annotated[Path | None, typer.Option(help=".npy with queries to tune the index with")] = None,
    only_make: Annotated[bool, typer.Option("--only-make", help="build the release, serve nothing")] = False,
    save: Annotated[Path | None, typer.Option(help="also write the document there, and a .png beside it")] = None,
    as_json: Json = False,
) -> None:
    """Make releases of synthetic catalogues without training, serve each, measure memory, recall, rate and latency."""
    from perf.catalogue.forest import Trees
    from perf.catalogue.make import catalogue_settings, made, make
    from perf.catalogue.measure import Scale, measure
    from perf.catalogue.plot import plot
    from perf.catalogue.source import read_vectors

    settings, wanted = load_settings(), Trees.parse(trees) if trees else None
    scales: list[Scale] = []
    for size in items or DEFAULT:
        console.rule(f"{size:,} items")
        target = catalogue_settings(settings, size, candidates, wanted)
        folder = make(
            settings, size, _report, candidates=candidates, trees=wanted, seed=seed,
            vectors=read_vectors(vectors), queries=read_vectors(queries),
        )  # fmt: skip
        if only_make:
            took = made(target)
            console.print(f"{folder} in {took.seconds:.0f} s, {took.peak_mib / 1024:.1f} GiB at most")
            continue
        scales.append(measure(target, rate, _report, steady))
        show([scales[-1].as_row()])
    if scales:
        show([scale.as_row() for scale in scales])
        if save is not None:
            plot(scales, save.with_suffix(".png"))
    finish({"sizes": [scale.as_dict() for scale in scales]}, as_json, save)


def _report(step: str) -> None:
    console.print(f"  [dim]{step}[/dim]")
