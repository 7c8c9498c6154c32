"""The report as one self-contained page: the template beside this file, the plots, and the sentences that sum it up."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import jinja2

from training.adapters.canonical import SCHEMAS
from training.validation import anomalies, plots
from training.validation.report import MINIMUM_QUALITY, Report
from training.validation.schemas import TABLES

DAYS_NAMED = 5


def page(report: Report) -> str:
    """The HTML document; every text from the data is escaped."""
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"count": lambda n: f"{n:,}", "percent": percent}
    found = report.anomalies
    active = {name: activity for name, activity in found.activities.items() if activity.days}
    return environment.get_template("page.html.j2").render(
        report=report, minimum=MINIMUM_QUALITY, findings=list(findings(report)), schemas=SCHEMAS, tables=TABLES,
        days={name: plots.days(activity) for name, activity in active.items()},
        hours=plots.hours(active) if active else None,
        distributions=plots.distributions(found.distributions) if found.distributions else None,
        bot_limit=anomalies.BOT_EVENTS_PER_DAY, codes=anomalies.CODES,
    )  # fmt: skip


def percent(share: float) -> str:
    """A share with two digits, and never 100 % or 0 % where it is not."""
    text = f"{100 * share:.2f}"
    if text == "100.00":
        return "100 %" if share == 1 else "> 99.99 %"
    if text == "0.00":
        return "0 %" if share == 0 else "< 0.01 %"
    return f"{text} %"


def findings(report: Report) -> Iterator[str]:
    """One sentence for everything that looks odd."""
    found = report.anomalies
    for name, activity in found.activities.items():
        yield from _about_days(f"{name}: {{}} of unusual volume", activity.odd_days)
        yield from _about_days(f"{name}: {{}} without a row", activity.empty_days)
    bots = found.bots
    if bots.users:
        who = f"{bots.users:,} user{'s' * (bots.users > 1)} with more than {anomalies.BOT_EVENTS_PER_DAY:,}"
        yield f"{who} events on a day ({bots.events:,} events); listed in anomalies/users"
    for (table, column), distribution in found.distributions.items():
        sides = zip(("below", "above"), distribution.spread.fences, strict=True)
        beyond = (distribution.below, distribution.above)
        parts = [f"{n:,} {side} {fence:,.5g}" for (side, fence), n in zip(sides, beyond, strict=True) if n]
        if parts:
            yield f"{table} {column}: {' and '.join(parts)}"
    if found.categories.exploded:
        yield (
            f"category explosion: {found.categories.distinct:,} categories for {anomalies.CODES} codes, "
            f"{percent(found.categories.other_share)} of the items fall into “other”"
        )


def _about_days(sentence: str, days: list[date]) -> Iterator[str]:
    if days:
        named = ", ".join(str(day) for day in days[:DAYS_NAMED])
        rest = f" and {len(days) - DAYS_NAMED} more" if len(days) > DAYS_NAMED else ""
        yield f"{sentence.format(f'{len(days)} day' + 's' * (len(days) > 1))}: {named}{rest}"
