"""The report as one self-contained HTML page: the template beside this file, the picture inside."""

import base64
from collections.abc import Sequence
from pathlib import Path

import jinja2

from perf.plan.autoscale import manifests
from perf.plan.plots import picture
from perf.plan.prices import Prices, cost
from perf.plan.profile import Profile
from perf.plan.report import pool_rows, sources, store_rows, summary_rows
from perf.plan.size import Plan
from perf.plan.sweep import Case, as_rows


def page(plans: Sequence[Plan], cases: Sequence[Case], profile: Profile, prices: Prices | None = None) -> str:
    """The HTML document."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["count"] = lambda number: f"{number:,.0f}"
    demand = plans[0].demand
    costs = {"currency": prices.currency, "plans": [cost(plan, prices) for plan in plans]} if prices else None
    return environment.get_template("page.html.j2").render(
        demand=demand, plans=plans, summary=summary_rows(plans, prices), pools=[pool_rows(plan) for plan in plans],
        stores=[store_rows(plan) for plan in plans], yaml=[manifests(plan) for plan in plans], costs=costs,
        picture=base64.b64encode(picture(cases, demand)).decode(), cases=as_rows(list(cases), prices),
        sources=sources(plans, profile),
    )  # fmt: skip
