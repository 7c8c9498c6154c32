"""`python -m perf`: measurements of a running stack (`make serve` in another terminal)."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.settings import Settings, SettingsError, load_settings
from exporters.errors import ExportError
from perf.errors import PerfError
from training.errors import DataError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Json = Annotated[bool, typer.Option("--json", help="last line of stdout is one JSON document")]
console = Console(stderr=True)


@app.command()
def analyze(
    concurrency: Annotated[list[int] | None, typer.Option(help="clients at once; may be repeated")] = None,
    as_json: Json = False,
) -> None:
    """perf_analyzer on each served model and on the whole ensemble, with real input data."""
    from perf.analyze import analyze as measure
    from perf.analyze import as_rows

    rows = as_rows(list(measure(load_settings(), tuple(concurrency or (1, 4)))))
    _show(rows)
    _finish({"measurements": rows}, as_json)


@app.command()
def load(
    requests: Annotated[int, typer.Option(min=1)] = 1000,
    clients: Annotated[int, typer.Option(min=1, max=1024)] = 16,
    as_json: Json = False,
) -> None:
    """Closed-loop requests on the REST API: statuses, releases, degraded levels, latency, rate."""
    from perf.load import load as drive

    result = drive(load_settings(), requests, clients)
    _show([result])
    _finish(result, as_json)


@app.command()
def ranker(as_json: Json = False) -> None:
    """The served forest engine beside `lightgbm predict`, one thread each."""
    from perf.ranker import compare

    result = compare(load_settings())
    _show([result])
    _finish(result, as_json)


@app.command()
def bench(
    save: Annotated[Path | None, typer.Option(help="also write the document to this file")] = None,
    as_json: Json = False,
) -> None:
    """All of them, one after the other, in one document."""
    from perf.analyze import analyze as measure
    from perf.analyze import as_rows
    from perf.load import load as drive
    from perf.machine import facts
    from perf.ranker import compare

    settings: Settings = load_settings()
    stages: dict[str, Callable[[], list[dict[str, object]]]] = {
        "ranker": lambda: [compare(settings)],
        "rest": lambda: [drive(settings, 4000, clients) for clients in (1, 16)],
        "models": lambda: as_rows(list(measure(settings, (1, 4)))),
    }
    result: dict[str, object] = {"machine": facts()}
    for name, stage in stages.items():
        console.rule(name)
        rows = stage()
        _show(rows)
        result[name] = rows
    _finish(result, as_json, save)


@app.command()
def store(
    users: Annotated[int, typer.Option(min=1)] = 1_000_000,
    save: Annotated[Path | None, typer.Option(help="also write the document to this file")] = None,
    as_json: Json = False,
) -> None:
    """Bytes per user and rows per second of the online store, beside Feast's own rows."""
    from perf.machine import facts
    from perf.store import measure

    rows = measure(load_settings(), users)
    _show(rows)
    _finish({"machine": facts(), "store": rows}, as_json, save)


@app.command()
def pipeline(
    events: Annotated[list[int] | None, typer.Option(min=1000, help="events of a size; may be repeated")] = None,
    keep: Annotated[bool, typer.Option(help="keep the generated workspaces")] = False,
    save: Annotated[Path | None, typer.Option(help="also write the document there, and a .png beside it")] = None,
    as_json: Json = False,
) -> None:
    """Validation and features over generated events of growing number: seconds, memory, slope. Needs no stack."""
    from perf.machine import facts
    from perf.pipeline.growth import Size, measure, slope
    from perf.pipeline.plot import plot

    sizes: list[Size] = []
    for size in measure(load_settings(), events or (1_000_000, 10_000_000, 50_000_000), keep):
        sizes.append(size)
        _show([asdict(size)])
    _show([asdict(size) for size in sizes])
    if save is not None:
        plot(sizes, save.with_suffix(".png"))
    _finish({"machine": facts(), "sizes": [asdict(size) for size in sizes], "slope": slope(sizes)}, as_json, save)


def _show(rows: list[dict[str, object]]) -> None:
    """A row for each measurement; a single one stands upright."""
    if len(rows) == 1:
        table = Table("figure", "value")
        for name, value in rows[0].items():
            table.add_row(name, str(value))
    else:
        table = Table(*(rows[0] if rows else ["nothing measured"]))
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
    console.print(table)


def _finish(result: dict[str, object], as_json: bool, save: Path | None = None) -> None:
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        save.write_text(json.dumps(result, indent=2) + "\n")
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")


def main() -> None:
    """Run the CLI; what cannot be measured is one line on stderr and exit code 2."""
    try:
        app()
    except (PerfError, ExportError, DataError, SettingsError) as error:
        console.print(f"[red]error:[/red] {error}", soft_wrap=True, highlight=False)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
