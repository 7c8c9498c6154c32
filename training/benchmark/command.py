"""`python -m training benchmark NAME`: its options, its table, its document."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.settings import Settings
from training.benchmark.protocol import Protocol
from training.benchmark.protocols import PLACES, named
from training.benchmark.run import SEEDS, TUNED, chosen, document, run, search, tuned
from training.console import run as stage
from training.errors import DataError
from training.lines import write_json
from training.machine import facts
from training.machine import run as ran
from training.options import Json
from training.progress import bars

USUAL = len(SEEDS)
Name = Annotated[str, typer.Argument(help="of the protocol: " + ", ".join(PLACES))]
Data = Annotated[Path | None, typer.Option(help="folder of the set, or of all sets; by default TRIDENT_DATA's")]
Seeds = Annotated[int, typer.Option(min=1, help="runs that the figures are the mean of")]
Models = Annotated[list[str] | None, typer.Option("--model", help="only these, repeatable; all by default")]
Tune = Annotated[bool, typer.Option("--tune", help="search parameters on validation first, and keep them; resumable")]
Save = Annotated[Path | None, typer.Option(help="also write the document to this file")]


def benchmark(
    name: Name,
    data: Data = None,
    seeds: Seeds = USUAL,
    model: Models = None,
    tune: Tune = False,
    save: Save = None,
    json: Json = False,
) -> None:
    """Run a published protocol on its own split files, beside the figures that others published."""
    stage("benchmark", lambda settings: measure(settings, name, data, seeds, model or [], tune, save), json, readable)


def measure(
    settings: Settings, name: str, data: Path | None, seeds: int, models: list[str], tune: bool, save: Path | None
) -> Mapping[str, Any]:
    """The document. Raises DataError for an unknown name or model, and for files that are missing or bad."""
    protocol = named(name)
    names, numbers = chosen(protocol, models), range(SEEDS[0], SEEDS[0] + seeds)
    folder = settings.workspace / "benchmarks"
    problem, judge = protocol.load(_folder(protocol, data or settings.data_folder))
    with bars() as report:
        parameters = tuned(protocol)
        if tune:
            parameters = search(protocol, problem, names, folder, report, _told)
            write_json(TUNED / f"{name}.json", parameters)
        results = run(protocol, problem, judge, names, numbers, parameters, report, folder)
    found = document(protocol, results, parameters, numbers)
    if save:
        save.parent.mkdir(parents=True, exist_ok=True)
        write_json(save, {"machine": facts(), "run": ran("training"), **found})
    return found


def _folder(protocol: Protocol[Any], data: Path | None) -> Path:
    if data is None:
        raise DataError(f"--data: not given, nor is TRIDENT_DATA; name the folder that holds {protocol.folder}")
    inside = data / protocol.folder
    return inside if inside.is_dir() else data


def _told(parameters: Mapping[str, Any], value: float) -> None:
    typer.echo(f"· {value:.5f}  {dict(parameters)}", err=True)


def readable(found: Mapping[str, Any]) -> str:
    """The table: ours beside what was published and the references, best first."""
    protocol = named(found["benchmark"])
    metrics = list(dict.fromkeys(key for row in protocol.published.values() for key in row)) or [protocol.metric]
    table = Table("model", *metrics, title=f"{protocol.title}; seeds {found['seeds']}")
    rows = [
        *((f"{name} (ours)", row) for name, row in found["figures"].items()),
        *((f"{name} (published)", row) for name, row in protocol.published.items()),
        *((f"{name} (reference)", row) for name, row in protocol.reference.items()),
    ]
    rows.sort(key=lambda row: row[1].get(protocol.metric, 0.0), reverse=not protocol.lower_is_better)
    for name, row in rows:
        table.add_row(name, *(f"{row[metric]:.4f}" if metric in row else "" for metric in metrics))
    console = Console(width=120)
    with console.capture() as text:
        console.print(table)
    return text.get()
