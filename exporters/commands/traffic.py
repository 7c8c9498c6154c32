"""Commands about who answers whom. Each changes the traffic record and nothing else; `retire` also unloads."""

from collections.abc import Callable
from typing import Annotated

import typer

from deploy.settings import load_settings
from exporters.commands.console import DryRun, Json, Reason, Wait, finish, report, say
from model_repository.traffic import Traffic

Force = Annotated[bool, typer.Option("--force", help="also when Triton does not say that it is ready")]


def promote(
    number: int, reason: Reason = "", force: Force = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Send all users to a published release."""
    from exporters.rollout import promoted

    _change(lambda before: promoted(before, number, reason), dry_run, as_json, force)


def canary(
    number: int,
    percent: Annotated[float, typer.Option(help="of the users, more than 0 and less than 100")] = 5.0,
    reason: Reason = "",
    force: Force = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Send a share of the users to a published release; a growing share keeps the users it has."""
    from exporters.rollout import canaried

    _change(lambda before: canaried(before, number, percent / 100, reason), dry_run, as_json, force)


def rollback(
    number: Annotated[int | None, typer.Argument(help="default: ends the canary, or goes to the line before")] = None,
    reason: Reason = "",
    force: Force = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Send users back: from a canary to the champion, else from the champion to the previous line."""
    from exporters.rollout import rolled_back

    _change(lambda before: rolled_back(before, number, reason), dry_run, as_json, force)


def retire(
    number: int,
    grace: Annotated[float | None, typer.Option(min=0, help="seconds for orchestrators to follow")] = None,
    dry_run: DryRun = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Take a release that carries nobody out of the record and off Triton."""
    from exporters.lock import publishing
    from exporters.retire import GRACE_S
    from exporters.retire import retire as retire_release
    from exporters.rollout import retired

    settings = load_settings()
    if dry_run:
        _change(lambda before: retired(before, number), dry_run, as_json, force=True)
        return
    with publishing(settings, wait):
        traffic = retire_release(settings, number, report, GRACE_S if grace is None else grace)
    _tell(traffic, as_json)


def _change(step: Callable[[Traffic], Traffic], dry_run: bool, as_json: bool, force: bool) -> None:
    from exporters.shift import shift
    from exporters.traffic import TrafficStore

    settings = load_settings()
    if dry_run:
        before = TrafficStore(settings).require()
        say(f"now: {_arms(before)}; would be:")
        _tell(step(before), as_json)
        return
    _tell(shift(settings, step, force), as_json)


def _tell(traffic: Traffic, as_json: bool) -> None:
    say(_arms(traffic))
    finish(traffic.model_dump(mode="json"), as_json)


def _arms(traffic: Traffic) -> str:
    return ", ".join(f"{arm.variant} release {arm.release} {100 * arm.share:g} %" for arm in traffic.arms)
