"""`python -m perf load`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deploy.settings import load_settings
from perf.console import Json, Save, console, finish, show
from perf.load import Arrivals, ClosedLoop, OpenLoop, Probe, Target, drive, find_knee, known_users
from perf.load.knee import FIRST
from perf.load.outcome import LIMIT_MS
from perf.load.schedule import SECONDS, WARM_UP_S
from perf.load.target import ITEMS

Rate = Annotated[
    float | None, typer.Option(min=0.1, help="requests per second, sent on schedule: an open loop; of --knee the first")
]
Clients = Annotated[int, typer.Option(min=1, max=1024, help="without a rate: always busy, which saturates")]
Requests = Annotated[int | None, typer.Option(min=1, help="the clients stop after as many")]
Find = Annotated[bool, typer.Option("--knee", help="search the highest rate within the limit")]
Limit = Annotated[float, typer.Option(min=1, help="p99 that the knee may have")]
Seconds = Annotated[float, typer.Option(min=0.1, help="of a run, or of each probe of the knee")]
WarmUp = Annotated[float, typer.Option(min=0, help="seconds before, not counted")]
Process = Annotated[Arrivals, typer.Option(help="how an open loop's requests are spaced")]
Skew = Annotated[float, typer.Option(min=0, help="Zipf exponent of the users' popularity; 0: all alike")]
Users = Annotated[int | None, typer.Option(min=1, help="ask only for that many of the workspace's users")]
Items = Annotated[int, typer.Option(min=1, max=100, help="items asked for")]
Samples = Annotated[Path | None, typer.Option(help="also write every request's times to this .npz file")]


def load(
    rate: Rate = None,
    clients: Clients = 16,
    requests: Requests = None,
    knee: Find = False,
    limit_ms: Limit = LIMIT_MS,
    seconds: Seconds = SECONDS,
    warm_up: WarmUp = WARM_UP_S,
    arrivals: Process = FIRST.arrivals,
    skew: Skew = 0.0,
    users: Users = None,
    items_per_request: Items = ITEMS,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    samples: Samples = None,
    save: Save = None,
    as_json: Json = False,
) -> None:
    """Load on the REST API: an open loop at a rate, clients that are always busy, or the knee. Beside --save a .png."""
    settings = load_settings()
    asked = known_users(settings)[:users]
    target = Target(host=settings.host, port=settings.api_port, users=asked, skew=skew, items=items_per_request)
    plan: OpenLoop | ClosedLoop = ClosedLoop(
        clients=clients, seconds=seconds, warm_up_s=warm_up, requests=requests, seed=seed
    )
    if rate or knee:
        plan = OpenLoop(rate=rate or FIRST.rate, seconds=seconds, arrivals=arrivals, seed=seed, warm_up_s=warm_up)
    picture = save.with_suffix(".png") if save else None
    if knee and isinstance(plan, OpenLoop):
        result = _find(target, limit_ms, plan, picture)
    else:
        result = _run(target, plan, picture, samples)
    about = {"users": len(asked), "skew": skew, "items_per_request": items_per_request}
    finish({"asked": asdict(plan) | about} | result, as_json, save)


def _run(target: Target, plan: OpenLoop | ClosedLoop, picture: Path | None, samples: Path | None) -> dict[str, object]:
    from perf.load.plot import plot_latency

    outcome = drive(target, plan)
    if picture:
        plot_latency(outcome, f"{outcome.offered_per_second:,.0f} requests/s for {outcome.seconds:.3g} s", picture)
    if samples:
        outcome.save(samples)
    result = outcome.as_dict()
    show([result])
    return result


def _find(target: Target, limit_ms: float, first: OpenLoop, picture: Path | None) -> dict[str, object]:
    from perf.load.plot import plot_knee

    found = find_knee(target, limit_ms, first, _tell)
    if picture:
        plot_knee(found, f"{found.rate:,.0f} requests/s at p99 ≤ {limit_ms:g} ms, {first.arrivals} arrivals", picture)
    result = found.as_dict()
    show([{name: value for name, value in result.items() if name != "probes"}])
    return result


def _tell(probe: Probe) -> None:
    console.print(
        f"  {probe.rate:,.0f}/s: {probe.answered:,.1f} of {probe.offered:,.1f} answered, "
        f"p50 {probe.p50_ms:.1f}, p99 {probe.p99_ms:.1f} ms, {probe.failed:.2%} failed, "
        f"{probe.degraded:.2%} degraded, generator lag {probe.generator_lag_ms:.1f} ms",
        highlight=False,
    )
