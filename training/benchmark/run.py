"""A benchmark: load, tune where asked to, answer with each model and seed, judge."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from training.benchmark.protocol import Answer, Figures, Given, Judge, Parameters, Protocol, Report
from training.benchmark.study import Trial, tune
from training.errors import DataError
from training.lines import read_json

TUNED = Path(__file__).parent / "tuned"
SEEDS = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One model and seed: how it did, what it is, and the seconds it took."""

    figures: Figures
    digest: str
    seconds: float


def tuned(protocol: Protocol[Any], folder: Path = TUNED) -> dict[str, Parameters]:
    """The parameters of every model: its defaults, and over them what a study stored in `folder`."""
    path = folder / f"{protocol.name}.json"
    stored = read_json(path) if path.is_file() else {}
    return {name: {**model.defaults, **stored.get(name, {})} for name, model in protocol.models.items()}


def search(
    protocol: Protocol[Any],
    problem: Any,
    names: Sequence[str],
    folder: Path,
    report: Report,
    told: Trial,
    known: Path = TUNED,
) -> dict[str, Parameters]:
    """Tune these models, in the protocol's order, so that a blend finds its parts tuned; returns all parameters.

    Trials are in `folder`/studies; `known` has what earlier studies stored.
    """
    parameters, memo = tuned(protocol, known), dict[Any, Any]()
    for name in names:
        model = protocol.models[name]
        if model.objective is None or not model.space:
            continue
        given = Given(problem=problem, parameters=parameters, seed=SEEDS[0], report=report, kept=folder, memo=memo)
        file = folder / "studies" / protocol.name / f"{name}.jsonl"
        parameters[name] = tune(model, partial(model.objective, given), file, told)
    return parameters


def run(
    protocol: Protocol[Any],
    problem: Any,
    judge: Judge,
    names: Sequence[str],
    seeds: Sequence[int],
    parameters: Mapping[str, Parameters],
    report: Report,
    kept: Path | None = None,
) -> dict[str, list[Result]]:
    """Results of the models by seed; a model that no seed changes is run once. A memo is shared."""
    results: dict[str, list[Result]] = {name: [] for name in names}
    memo: dict[Any, Any] = {}
    for place, seed in enumerate(seeds):
        given = Given(problem=problem, parameters=parameters, seed=seed, report=report, kept=kept, memo=memo)
        for name in names:
            model = protocol.models[name]
            if place and not model.seeded:
                continue
            started = time.monotonic()
            answer: Answer = model.answer(given)
            seconds = time.monotonic() - started
            results[name].append(Result(figures=judge(answer), digest=answer.digest, seconds=round(seconds, 1)))
            report(name, place + 1, len(seeds) if model.seeded else 1)
    return results


def document(
    protocol: Protocol[Any],
    results: Mapping[str, Sequence[Result]],
    parameters: Mapping[str, Parameters],
    seeds: Sequence[int],
) -> dict[str, Any]:
    """What `--json` ends with: means over the seeds, and beside them what was published and the references."""
    means = {name: _means(runs) for name, runs in results.items()}
    table = {name: figures for name, figures in means.items() if protocol.models[name].ours}
    return {
        "benchmark": protocol.name,
        "metric": protocol.metric,
        "ours": {name: figures[protocol.metric] for name, figures in means.items()},
        "best_ours": _named(protocol.best(table)),
        "published_best": _named(protocol.best(protocol.published)),
        "reference": _named(protocol.best(protocol.reference)),
        "figures": means,
        "by_seed": {name: [run.figures[protocol.metric] for run in runs] for name, runs in results.items()},
        "spread": {name: round(_spread(runs, protocol.metric), 6) for name, runs in results.items()},
        "published": [{"model": name, **row} for name, row in protocol.published.items()],
        "references": [{"model": name, **row} for name, row in protocol.reference.items()],
        "digests": {name: [run.digest for run in runs] for name, runs in results.items()},
        "model_seconds": {name: round(sum(run.seconds for run in runs), 1) for name, runs in results.items()},
        "parameters": {name: dict(parameters[name]) for name in results},
        "seeds": list(seeds),
    }


def chosen(protocol: Protocol[Any], wanted: Sequence[str]) -> list[str]:
    """The models asked for, in the protocol's order; all without any. Raises DataError for an unknown one."""
    if unknown := sorted(set(wanted) - protocol.models.keys()):
        raise DataError(f"--models {unknown[0]}: not a model of {protocol.name}; it has {', '.join(protocol.models)}")
    return [name for name in protocol.models if not wanted or name in wanted]


def _means(runs: Sequence[Result]) -> dict[str, float]:
    return {metric: round(fmean(run.figures[metric] for run in runs), 6) for metric in runs[0].figures}


def _spread(runs: Sequence[Result], metric: str) -> float:
    """The largest less the smallest of the seeds."""
    values = [run.figures[metric] for run in runs]
    return max(values) - min(values)


def _named(best: tuple[str, float] | None) -> dict[str, Any] | None:
    return {"model": best[0], "value": best[1]} if best else None
