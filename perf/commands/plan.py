"""`python -m perf plan`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from deploy.settings import load_settings
from perf.console import Json, Save, console, finish, show
from perf.errors import PerfError

Count = Annotated[int, typer.Option(min=1)]


def plan(
    rate: Annotated[float, typer.Option(min=1, help="requests/s")] = 10_000,
    items: Count = 10_000_000,
    users: Count = 100_000_000,
    p99_ms: Annotated[float, typer.Option(min=1, help="limit of the 99th percentile")] = 100.0,
    k: Annotated[int, typer.Option(min=1, help="candidates of a request")] = 500,
    trees: Annotated[int, typer.Option(min=1, help="of all objectives together")] = 300,
    leaves: Annotated[int, typer.Option(min=2, help="of a tree")] = 64,
    hit_rate: Annotated[float, typer.Option(min=0, max=1, help="requests with a cached embedding")] = 0.9,
    n_plus: Annotated[int, typer.Option(min=0, help="replicas of each pool that may be lost")] = 1,
    swap_headroom: Annotated[float, typer.Option(min=0, max=0.9, help="throughput kept for a release swap")] = 0.1,
    releases: Annotated[int, typer.Option(min=2, help="releases kept on disk")] = 3,
    probed: Annotated[
        float | None, typer.Option(min=0, max=1, help="share of an IVF's lists a query reads; as built when left out")
    ] = None,
    vector_bytes: Annotated[
        float | None, typer.Option(min=1, help="of an indexed vector on the CPU; as built when left out")
    ] = None,
    cores: Annotated[int, typer.Option(min=1, help="of a Triton replica")] = 16,
    instances: Annotated[int, typer.Option(min=1, help="of each model on a replica's CPU, one thread each")] = 8,
    gpu: Annotated[str | None, typer.Option(help="h100, h200, a100, l40s, l4, a10g …; `none` for CPUs only")] = "h100",
    gpu_index: Annotated[Literal["flat", "ivf"], typer.Option(help="of the GPU")] = "flat",
    curves: Annotated[Path | None, typer.Option(help="GPU curves that `python -m perf gpu --report` wrote")] = None,
    prices: Annotated[Path | None, typer.Option(help="TOML, see perf/plan/prices.py")] = None,
    profile: Annotated[Path | None, typer.Option(help="stored costs; the shipped one when left out")] = None,
    report: Annotated[Path | None, typer.Option(help="write the report there: .html or .md")] = None,
    calibrate: Annotated[bool, typer.Option(help="measure the costs on this machine and store them")] = False,
    validate: Annotated[bool, typer.Option(help="predict five unseen settings, then measure them")] = False,
    save: Save = None,
    as_json: Json = False,
) -> None:
    """Replicas, GPUs, Redis and disk for a target load, what binds, latency, cost, autoscalers, what-if."""
    from perf.plan.profile import STORED

    path = profile or STORED
    if calibrate or validate:
        finish(_measure(path, calibrate, validate), as_json, save)
        return
    from perf.plan.built import read_built
    from perf.plan.demand import Demand

    try:
        demand = Demand(
            rate=rate, items=items, users=users, p99_ms=p99_ms, candidates=k, trees=trees, leaves=leaves,
            hit_rate=hit_rate, spare=n_plus, swap_headroom=swap_headroom, releases_kept=releases, probed=probed,
            vector_bytes=vector_bytes, built=read_built(), triton_cores=cores, instances=instances,
            gpu=None if gpu == "none" else gpu, gpu_index=gpu_index,
        )  # fmt: skip
    except ValueError as error:
        raise PerfError(str(error)) from None
    finish(_plan(demand, path, curves, prices, report), as_json, save)


def _plan(demand: Any, path: Path, curves: Path | None, prices: Path | None, report: Path | None) -> dict[str, Any]:
    from perf.plan.curves import read_curves
    from perf.plan.prices import read_prices
    from perf.plan.profile import load
    from perf.plan.report import document, pool_rows, sources, store_rows, summary_rows
    from perf.plan.size import Refusal, attempts, feasible
    from perf.plan.sweep import as_rows, sweep

    costs, amounts = load(path), read_prices(prices) if prices else None
    measured = read_curves(curves) if curves else None
    tried, cases = attempts(demand, costs, measured), list(sweep(demand, costs, measured))
    found = feasible(tried)
    for one in found:
        console.print(f"[bold]{one.variant}[/bold]")
        show(pool_rows(one))
    for refusal in tried:
        if isinstance(refusal, Refusal):
            console.print(f"[bold]{refusal.variant}[/bold]: {refusal.why}")
    show(store_rows(found[0]))
    show(as_rows(cases, amounts))
    show(sources(found, costs))
    show(summary_rows(found, amounts))
    if report is not None:
        _write(report, found, cases, costs, amounts)
    rows = {"what_if": as_rows(cases, amounts), "sources": sources(found, costs)}
    return {"calibrated_on": costs.machine, **document(found, amounts), **rows}


def _write(report: Path, found: Any, cases: Any, costs: Any, amounts: Any) -> None:
    from perf.plan.page import page
    from perf.plan.plots import picture
    from perf.plan.report import markdown

    report.parent.mkdir(parents=True, exist_ok=True)
    is_page = report.suffix == ".html"
    report.write_text(page(found, cases, costs, amounts) if is_page else markdown(found, costs, amounts))
    report.with_suffix(".png").write_bytes(picture(cases, found[0].demand))


def _measure(path: Path, calibrate: bool, validate: bool) -> dict[str, Any]:
    from perf.plan import calibrate as calibration
    from perf.plan import validate as validation
    from perf.plan.profile import load
    from perf.results import stamped, store

    settings = load_settings()
    result: dict[str, Any] = {}
    if calibrate:
        measured = calibration.calibrate(settings, _say)
        store(stamped(measured.model_dump(mode="json", exclude={"run"})), path)
        result["profile"] = measured.model_dump(mode="json")
        show([{"role": role, **costs.model_dump()} for role, costs in measured.roles.items()])
    if validate:
        checks = []
        for check in validation.validate(settings, load(path), _say):
            checks.append(check)
            show(validation.as_rows(checks))
        result |= {"validation": validation.as_rows(checks), **validation.summary(checks)}
        result["measured"] = [check.seen.model_dump(mode="json") for check in checks]
        show([validation.summary(checks)])
    return result


def _say(step: str) -> None:
    console.print(f"  [dim]{step}[/dim]", highlight=False)
