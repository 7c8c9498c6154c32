"""`python -m perf analyze`."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.settings import load_settings
from perf.console import Json, Save, console, finish, show

CONCURRENCIES = (1, 2, 4, 8)
RATES = (50.0, 100.0, 200.0)


def analyze(
    model: Annotated[list[str] | None, typer.Option(help="model, or `recommend`; may be repeated; all")] = None,
    concurrency: Annotated[list[int] | None, typer.Option(min=1, help="always in flight; may be repeated")] = None,
    rate: Annotated[list[float] | None, typer.Option(min=0.1, help="requests/s, Poisson; may be repeated")] = None,
    seconds_per_point: Annotated[float, typer.Option(min=1.5, help="time under each load")] = 6.0,
    report: Annotated[Path | None, typer.Option(help="report to write: .html or .md")] = None,
    save: Save = None,
    as_json: Json = False,
) -> None:
    """perf_analyzer on each served model and on the whole ensemble, with real input data; Triton must be running.

    Without --concurrency and --rate both are swept. Beside --save go the points and stages as CSV.
    """
    from functools import partial

    from perf.analyze.points import Client, Load, Target
    from perf.analyze.report import check_path, write
    from perf.analyze.runs import run
    from perf.analyze.statistics import reader, settled
    from perf.analyze.sweep import NAMES, sweep, targets
    from perf.analyze.tables import document, shown, write_csv
    from perf.binary import obtain
    from perf.release import newest
    from perf.results import stamped

    settings = load_settings()
    if report is not None:
        check_path(report)
    binary, (manifest, line) = obtain(), newest(settings)
    if not concurrency and not rate:
        concurrency, rate = list(CONCURRENCIES), list(RATES)
    loads = [Load(mode="concurrency", value=clients) for clients in concurrency or ()]
    loads += [Load(mode="rate", value=per_second) for per_second in rate or ()]

    def drive(target: Target, load: Load) -> Client:
        result = settings.workspace / "perf" / "result.csv"
        return run(binary, settings.triton_url, target, load, seconds_per_point, result)

    aims, points = targets(settings, manifest, line, model or NAMES), []
    console.print(f"perf_analyzer {binary.version}, {len(aims) * len(loads)} points of {seconds_per_point:g} s")
    for point in sweep(aims, loads, drive, partial(settled, reader(settings.triton_url))):
        points.append(point)
        said = point.error or (f"{point.client.requests_per_second:,.1f}/s" if point.client else "")
        console.print(f"  {point.model}, {point.load}: {said}", highlight=False)
    show(shown(points))
    result = stamped(document(points, manifest, binary.version, seconds_per_point))
    if report is not None:
        write(result, points, report)
    if save is not None:
        write_csv(points, save.with_suffix(".csv"))
    finish(result, as_json, save)
