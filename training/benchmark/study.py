"""Tuning on validation: a descent along one parameter at a time, over the values a model declares.

Every trial is a line of a file, so a study that was killed goes on where it stopped, and one that is done is read.
"""

import json
from collections.abc import Callable
from pathlib import Path

from training.benchmark.protocol import Model, Objective, Parameters

Trial = Callable[[Parameters, float], None]


def tune(model: Model, objective: Callable[[], Objective], file: Path, told: Trial) -> dict[str, float | int | str]:  # type: ignore[type-arg]
    """The best parameters found: each is moved alone to its best value, until a round over all moves none.

    `objective` is made when the first trial needs it; `told` hears of every trial. Equal values keep what came first.
    """
    known = _read(file)
    prepared: list[Objective] = []

    def value(parameters: Parameters) -> float:
        key = json.dumps(parameters, sort_keys=True)
        if key not in known:
            if not prepared:
                prepared.append(objective())
            known[key] = prepared[0](parameters)
            _append(file, parameters, known[key])
        told(parameters, known[key])
        return known[key]

    best, moved = dict(model.defaults), True
    score = value(best)
    while moved:
        moved = False
        for name, values in model.space.items():
            trials = [(value({**best, name: one}), {**best, name: one}) for one in values if one != best[name]]
            top = max(trials, key=lambda trial: trial[0], default=(score, best))
            if top[0] > score:
                (score, best), moved = top, True
    return best


def _read(file: Path) -> dict[str, float]:
    """Finished trials; a torn last line is none."""
    known = {}
    for line in file.read_text().splitlines() if file.is_file() else ():
        try:
            trial = json.loads(line)
        except ValueError:
            continue
        known[json.dumps(trial["parameters"], sort_keys=True)] = float(trial["value"])
    return known


def _append(file: Path, parameters: Parameters, value: float) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps({"parameters": parameters, "value": value}) + "\n")
