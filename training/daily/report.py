"""A day's report, `report.md` and a self-contained `report.html`: how it ended, why, and the figures behind it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2

from training.daily import plots
from training.daily.gate import LOWER_IS_BETTER
from training.daily.state import Journal, State
from training.lines import VERDICT, read_json

Json = Mapping[str, Any]
MARKDOWN, PAGE = "report.md", "report.html"
ENDS = {
    "running": "not finished",
    "released": "released",
    "bad day": "the day's data was refused",
    "refused": "the challenger was refused by the gate",
    "stable": "no drift, nothing trained",
}


def write_report(journal: Journal) -> list[Path]:
    """Write both; returns their paths."""
    state = journal.state
    verdict = read_json(path) if (path := journal.folder / VERDICT).is_file() else {}
    (journal.folder / MARKDOWN).write_text("\n".join(_lines(state, verdict)) + "\n")
    (journal.folder / PAGE).write_text(_page(state, verdict))
    return [journal.folder / MARKDOWN, journal.folder / PAGE]


def verdict_rows(verdict: Json) -> list[tuple[str, str, str, str, str]]:
    """The gate's checks as text: figure, champion, challenger, limit, verdict."""
    return [
        (check["name"], _text(check["champion"]), _text(check["challenger"]), _limit(check), _passed(check))
        for check in verdict.get("checks", [])
    ]


def facts(state: State, verdict: Json) -> dict[str, str]:
    """What came of it, in words."""
    canary, drift, quality = (_result(state, step) for step in ("canary", "drift", "quality"))
    told = {
        "outcome": ENDS[state.outcome],
        "why": state.reason,
        "line": _result(state, "refit").get("line"),
        "release": canary.get("release"),
        "users": canary.get("arm") and f"as {canary['arm']}",
        "champion's line": verdict.get("champion_line"),
        "gate": verdict.get("mode"),
        "drift": drift.get("status"),
        "clean rows": ", ".join(f"{name} {share:.1%}" for name, share in quality.get("clean", {}).items()),
    }
    return {name: str(value) for name, value in told.items() if value not in (None, "")}


def _lines(state: State, verdict: Json) -> Iterator[str]:
    yield f"# Daily run {state.day}: {ENDS[state.outcome]}"
    yield ""
    yield from (f"- {name}: {value}" for name, value in facts(state, verdict).items())
    if rows := verdict_rows(verdict):
        yield from ("", "| figure | champion | challenger | limit | |", "|---|---|---|---|---|")
        yield from (f"| {' | '.join(row)} |" for row in rows)
    yield from ("", "| step | seconds |", "|---|---|")
    yield from (f"| {name} | {step.seconds:g} |" for name, step in state.steps.items())


def _page(state: State, verdict: Json) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template("report.html.j2").render(
        day=state.day, outcome=ENDS[state.outcome], good=state.outcome in ("released", "stable"),
        facts=facts(state, verdict), rows=verdict_rows(verdict), steps=state.steps,
        pictures=dict(_pictures(state, verdict)),
    )  # fmt: skip


def _pictures(state: State, verdict: Json) -> Iterator[tuple[str, str]]:
    if checks := verdict.get("checks"):
        yield "Challenger and champion on the same test window", plots.figures(checks)
    if counts := _result(state, "volume").get("days"):
        yield "Volume", plots.volume(counts)
    if worst := _result(state, "drift").get("worst"):
        yield "Drift", plots.drift(worst)


def _result(state: State, step: str) -> Json:
    ended = state.steps.get(step)
    return ended.result if ended else {}


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _limit(check: Json) -> str:
    sign = "≤" if check["name"] in LOWER_IS_BETTER else "≥"
    return "" if check["limit"] is None else f"{sign} {check['limit']:.4f}"


def _passed(check: Json) -> str:
    return "ok" if check["passed"] else check["reason"]
