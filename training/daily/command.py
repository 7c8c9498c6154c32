"""The options of `python -m training daily` and `challenger`, shared by `training.__main__`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from deploy.settings import Settings
from training.daily.gate import TOLERANCES, Mode
from training.daily.options import PERCENT, options_of, rules_of
from training.daily.volume import Limits
from training.errors import DataError

USUAL = Limits()
Stage = Literal["train", "gate", "refit"]
Day = Annotated[str | None, typer.Option(help="newest complete day, YYYY-MM-DD; yesterday (UTC) by default")]
IfDrifted = Annotated[bool, typer.Option("--if-drifted", help="early, at most once a day: train only if PSI ≥ 0.2")]
Percent = Annotated[float, typer.Option(help=f"of the users see the challenger, {PERCENT:g} by default; 0: nobody")]
Judging = Annotated[Mode, typer.Option(help="what the gate asks of the challenger")]
Margin = Annotated[float, typer.Option(help="AUC that `superior` must be better by")]
Tolerance = Annotated[
    list[str] | None,
    typer.Option(
        help="figure=value that it may be worse by: " + ", ".join(f"{n}={v:g}" for n, v in TOLERANCES.items())
    ),
]
Least = Annotated[float, typer.Option(help="rows of the day, as a share of the days' median before it, at least")]
Most = Annotated[float, typer.Option(help="and at most")]
Clean = Annotated[float, typer.Option(help="share of the day's rows that must be clean")]
Allowed = Annotated[list[str] | None, typer.Option("--allow-day", help="a day that is right, whatever its volume")]


def readable(document: Mapping[str, Any]) -> str:
    """How the day ended, in one or two lines."""
    done = " already" if document["again"] else ""
    if document["outcome"] != "released":
        return str(document["reason"])
    users = f"has its users as {document['arm']}" if document["arm"] else "is published, nobody is sent to it"
    return f"{document['day']}: done{done}; line {document['line']}, release {document['release']} {users}\n" + (
        f"report: {document['folder']}/report.html"
    )


def run_daily(
    settings: Settings, day: str | None, early: bool, percent: float, mode: Mode, margin: float,
    tolerances: list[str] | None, limits: tuple[float, float, float], allowed: list[str] | None,
) -> Mapping[str, Any]:  # fmt: skip
    """The daily run, its steps named on stderr."""
    from training.daily.run import daily

    options = options_of(day, early, percent, mode, margin, tolerances or (), limits, allowed or ())
    return daily(settings, options, lambda step: typer.echo(f"· {step}", err=True))


def run_stage(
    settings: Settings, stage: Stage, key: str, mode: Mode, margin: float, tolerances: list[str] | None
) -> Mapping[str, Any]:
    """One stage of a day's challenger."""
    from training.daily import challenger
    from training.progress import bars

    if stage == "gate":
        try:
            return challenger.gate(settings, key, rules_of(mode, margin, tolerances or ()))
        except ValueError as error:
            raise DataError(str(error)) from None
    with bars() as report:
        return (challenger.train if stage == "train" else challenger.refit_line)(settings, key, report)
