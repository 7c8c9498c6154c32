"""One day from data to canary: `python -m training daily`.

A day that ended is not run again. One that was killed, or whose step failed, goes on there; one whose data was
refused starts again, since somebody may have mended it; a challenger that was refused is judged again, not trained.
"""

import time
from collections.abc import Callable
from typing import Any

from deploy.settings import Settings
from training.daily import kept
from training.daily.champion import carried_lines
from training.daily.errors import BadDayError, GateError
from training.daily.options import Options
from training.daily.report import write_report
from training.daily.runner import Children, Runner
from training.daily.state import Journal, running
from training.daily.work import StableError, Work
from training.tracking import finish, follow, track

Say = Callable[[str], None]


def daily(settings: Settings, options: Options, say: Say, runner: Runner | None = None) -> dict[str, Any]:
    """Run or go on with a day; returns how it ended. Raises BadDayError, GateError or StepError.

    `say` gets one line a step. `runner` runs the commands, by default as child processes.
    """
    with running(settings.daily) as lock:
        journal = Journal.open(settings.daily / options.key)
        if journal.state.outcome == "released":
            say(f"{options.key}: done already")
            return _summary(journal, again=True)
        journal.reopen()
        commands = runner or Children(settings, lock)
        return _run(Work(settings=settings, options=options, runner=commands, journal=journal), say)


def _run(work: Work, say: Say) -> dict[str, Any]:
    journal = work.journal
    try:
        _steps(work, say)
    except StableError as stable:
        journal.close("stable", str(stable))
        return _summary(journal)
    except BadDayError as refusal:
        kept.put_back(work.settings, journal.folder)
        journal.close("bad day", str(refusal))
        kept.drop(journal.folder)
        _tell(work, track(work.settings, journal.state.day, {}, {}))
        raise
    except GateError as refusal:
        journal.close("refused", str(refusal))
        _tell(work, track(work.settings, journal.state.day, work.parameters(), work.metrics()))
        raise
    follow(work.settings, *carried_lines(work.settings))
    journal.close("released")
    _tell(work, (journal.result("track") or {})["run"])
    return _summary(journal)


def _steps(work: Work, say: Say) -> None:
    for name, step in work.steps().items():
        if work.journal.result(name) is None:
            say(name)
            started = time.monotonic()
            result = step()
            work.journal.ended(name, time.monotonic() - started, result)


def _tell(work: Work, run: str) -> None:
    """Report how the day ended, to people and to MLflow."""
    finish(work.settings, run, work.journal.state.outcome, write_report(work.journal))


def _summary(journal: Journal, again: bool = False) -> dict[str, Any]:
    told = {name: journal.result(name) or {} for name in ("refit", "canary")}
    return {
        "day": journal.state.day,
        "outcome": journal.state.outcome,
        "reason": journal.state.reason,
        "again": again,
        "line": told["refit"].get("line"),
        "release": told["canary"].get("release"),
        "arm": told["canary"].get("arm"),
        "folder": str(journal.folder),
    }
