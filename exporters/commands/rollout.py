"""Commands that bring a canary to all users, or back: ramp, guard, exposures. Exit code 3: rolled back, or an alarm."""

import time
from dataclasses import asdict
from typing import Annotated

import typer

from deploy.settings import load_settings
from exporters.commands.console import Json, finish, report, say
from exporters.errors import ExportError
from exporters.guard.schedule import EVERY_S, HOLD_S, STEPS, Schedule

STOPPED = 3
DEFAULT_STEPS = ",".join(f"{step:g}" for step in STEPS)
Every = Annotated[float, typer.Option(min=0.1, help="seconds between two looks")]
MinAnswers = Annotated[int, typer.Option(min=1, help="in each arm, before anything is decided")]


def ramp(
    number: int,
    steps: Annotated[str, typer.Option(help="percent of the users, ascending")] = DEFAULT_STEPS,
    hold: Annotated[float, typer.Option(min=0, help="seconds that a step lasts at least")] = HOLD_S,
    every: Every = EVERY_S,
    min_answers: MinAnswers = 500,
    as_json: Json = False,
) -> None:
    """Grow a release's share step by step while its guardrails hold; one that was interrupted goes on."""
    from exporters.guard.judge import Guardrails
    from exporters.guard.ramp import RampStoppedError
    from exporters.guard.ramp import ramp as run

    try:
        schedule = Schedule(steps=tuple(float(step) for step in steps.split(",")), hold_s=hold, every_s=every)
    except ValueError as error:
        raise typer.BadParameter(f"{error}; ascending percents such as 5,25,100", param_hint="--steps") from None
    try:
        percent = run(load_settings(), number, schedule, Guardrails(min_answers=min_answers), report)
    except RampStoppedError as error:
        say(str(error))
        finish({"release": number, "stopped": str(error)}, as_json)
        raise typer.Exit(STOPPED) from None
    say(f"release {number} has {percent:g} % of the users")
    finish({"release": number, "percent": percent}, as_json)


def guard(
    once: Annotated[bool, typer.Option("--once", help="look once; exit code 3 when it rolled back")] = False,
    every: Every = EVERY_S,
    min_answers: MinAnswers = 500,
    as_json: Json = False,
) -> None:
    """Watch the canary; roll it back when failures, degraded answers or p99 break a guardrail, and say why."""
    from exporters.guard.controller import guard as look
    from exporters.guard.judge import Guardrails

    settings, guardrails = load_settings(), Guardrails(min_answers=min_answers)
    while True:
        try:
            seen = look(settings, guardrails)
        except ExportError as error:
            if once:
                raise
            say(f"not looked: {error}")
        else:
            if seen.rolled_back:
                say(f"release {seen.canary} rolled back: {seen.verdict.broken}")
            if once:
                finish(asdict(seen), as_json)
                raise typer.Exit(STOPPED if seen.rolled_back else 0)
        time.sleep(every)


def exposures(as_json: Json = False) -> None:
    """Whether the arms got their shares of the users since the record last changed; exit code 3 on an alarm."""
    from exporters.guard.exposures import begin
    from exporters.guard.exposures import exposures as read
    from exporters.traffic import TrafficStore

    store = TrafficStore(load_settings())
    traffic = store.require()
    found = read(store.impressions(begin(traffic)), traffic)
    if not sum(found.users.values()):
        raise ExportError("no impressions since the record last changed; serve some requests first")
    say(f"users by variant {dict(found.users)}, in two of them {found.in_two}, p-value {found.p_value:.4f}")
    finish({**asdict(found), "alarm": found.alarm}, as_json)
    if found.alarm:
        raise typer.Exit(STOPPED)
