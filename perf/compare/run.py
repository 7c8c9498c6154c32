"""The whole comparison: a catalogue, the stages without servers, then everybody's server."""

from collections.abc import Callable
from dataclasses import asdict

from deploy.local.errors import PlatformError
from deploy.local.runtime import RedisServer, Stack
from deploy.local.serve import platform
from deploy.settings import Settings
from perf.catalogue.make import catalogue_settings, make
from perf.catalogue.measure import measure
from perf.compare import item_features, ranker, retrieval, triton_call, whole_path
from perf.compare.plan import STAGES, Plan
from perf.console import console
from perf.errors import PerfError
from perf.peers.models import Release
from training.lines import FACTS


def compare(settings: Settings, plan: Plan) -> dict[str, object]:
    """Make the catalogue where it is missing and measure the stages of the plan. Raises PerfError."""
    try:
        return _compare(settings, plan)
    except PlatformError as error:
        raise PerfError(str(error)) from None


def require_line(settings: Settings) -> None:
    """Run the pipeline once where the workspace has no trained line."""
    if not any(settings.lines.glob(f"[0-9]*/{FACTS}")):
        with platform(settings, console):
            console.print("the sample is trained")


def _compare(settings: Settings, plan: Plan) -> dict[str, object]:
    require_line(settings)
    make(settings, plan.items, _say, trees=plan.trees)
    target = catalogue_settings(settings, plan.items, trees=plan.trees)
    manifest = Release.newest(target).manifest
    stages: dict[str, Callable[[], dict[str, object]]] = {
        "ranker": lambda: ranker.measure(target),
        "retrieval": lambda: retrieval.measure(target),
        "item_features": lambda: _item_features(target),
        "triton_call": lambda: triton_call.measure(target),
        "whole_path": lambda: whole_path.measure(target, plan),
        "scale": lambda: measure(target, None, _say, plan.steady_s).as_dict(),
    }
    measured: dict[str, object] = {}
    for name in STAGES:
        if name in plan.stages:
            console.print(f"[bold]{name}[/bold]")
            measured[name] = stages[name]()
    head: dict[str, object] = {"plan": asdict(plan), "catalogue": manifest.index.model_dump()}
    return head | dict(reversed(measured.items()))


def _item_features(settings: Settings) -> dict[str, object]:
    with Stack(settings) as stack:
        stack.start(RedisServer(settings))
        return item_features.measure(settings)


def _say(step: str) -> None:
    console.print(f"  [dim]{step}[/dim]")
