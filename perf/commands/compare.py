"""`python -m perf compare`, which is `make bench`."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.settings import load_settings
from perf.compare.plan import COMPARED, DEFAULT_ITEMS, FULL_ITEMS, FULL_TREES, STAGES, Plan
from perf.console import Json, Save, console, finish, show


def compare(
    items: Annotated[int, typer.Option(min=1000, help="items of the synthetic catalogue")] = DEFAULT_ITEMS,
    full: Annotated[bool, typer.Option("--full", help=f"{FULL_ITEMS:,} items, trees {FULL_TREES}, all stages")] = False,
    trees: Annotated[str | None, typer.Option(help="a forest of another size, such as 100x64 per objective")] = None,
    stage: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(STAGES)}; may be repeated; all but scale when left out")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="turns of each server")] = 5,
    picture: Annotated[Path | None, typer.Option(help="write a .png there, and the tables as .md beside it")] = None,
    save: Save = None,
    as_json: Json = False,
) -> None:
    """Trident beside its peers: whole path, ranker, item features, retrieval; same release, taking turns. With --full
    also the highest rate at a p99 below 100 ms, and five minutes of latency beside a server that does nothing."""
    from perf.catalogue.forest import Trees
    from perf.compare.report import markdown, plot, tables
    from perf.compare.run import compare as measure

    wanted = trees or (FULL_TREES if full else None)
    stages = _stages(stage) if stage else STAGES if full else COMPARED
    plan = Plan(
        items=FULL_ITEMS if full else items, trees=Trees.parse(wanted) if wanted else None, stages=stages, rounds=rounds
    )
    document = measure(load_settings(), plan)
    for title, rows in tables(document).items():
        console.print(f"[bold]{title}[/bold]")
        show(rows)
    if picture is not None:
        plot(document, picture)
        picture.with_suffix(".md").write_text(markdown(document))
    finish(document, as_json, save)


def _stages(chosen: list[str]) -> tuple[str, ...]:
    if unknown := sorted(set(chosen) - set(STAGES)):
        raise typer.BadParameter(f"unknown stage {unknown[0]!r}; known: {', '.join(STAGES)}")
    return tuple(chosen)
