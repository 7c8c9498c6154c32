"""The challenger in three stages that leave their result on disk, so that a killed run repeats one of them at most:
its recipe in `daily/<day>/recipe`, the verdict beside the champion in `gate.json`, the refitted line in `lines/L`.
"""

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.settings import Settings
from feature_repo.schema import SCHEMA
from training.daily.champion import champion_line
from training.daily.gate import Judged, Rules, decide
from training.dataset import Dataset
from training.errors import DataError
from training.evaluate import judge
from training.lines import LEARNT, METRICS, RECIPE, VERDICT, Line, marked, read_json, write_json
from training.recipe import Report, learn, refit


def train(settings: Settings, day: str, report: Report) -> dict[str, Any]:
    """Learn the day's recipe; returns its metrics on the test window."""
    draft, recipe = settings.daily / day / f".{RECIPE}", settings.daily / day / RECIPE
    for left in (draft, recipe):
        shutil.rmtree(left, ignore_errors=True)
    (settings.daily / day / VERDICT).unlink(missing_ok=True)
    draft.mkdir(parents=True)
    metrics = learn(settings, draft, report)
    draft.rename(recipe)
    return metrics


def gate(settings: Settings, day: str, rules: Rules) -> dict[str, Any]:
    """Judge the day's recipe beside the champion's on the same window; returns the verdict."""
    recipe, champion = _recipe(settings, day), champion_line(settings)
    before = _judged(judge(settings, _comparable(settings, champion)), champion.facts["as_of"]) if champion else None
    challenger = _judged(read_json(recipe / METRICS), read_json(recipe / LEARNT)["as_of"])
    verdict = decide(before, challenger, rules).document() | {"champion_line": champion.number if champion else None}
    write_json(settings.daily / day / VERDICT, verdict)
    return verdict


def refit_line(settings: Settings, day: str, report: Report) -> dict[str, Any]:
    """Refit the day's recipe as a new line, or take the one up that an interrupted run made; returns its number.

    Raises DataError when the gate has not let it pass.
    """
    verdict = settings.daily / day / VERDICT
    if not verdict.is_file() or not read_json(verdict)["passed"]:
        raise DataError(f"{verdict}: the gate has not let the challenger of {day} pass")
    recipe, line = _recipe(settings, day), marked(settings.lines, day)
    if line is None or line.facts["as_of"] != read_json(recipe / LEARNT)["as_of"]:
        line = refit(settings, recipe, report, day)
    return {"line": line.number}


def _recipe(settings: Settings, day: str) -> Path:
    recipe = settings.daily / day / RECIPE
    if not (recipe / LEARNT).is_file():
        raise DataError(f"{recipe}: missing; the daily run of {day} has not trained yet")
    return recipe


def _comparable(settings: Settings, champion: Line) -> Path:
    """The champion's recipe. Raises DataError when it cannot be asked about the features as they are now."""
    facts = champion.facts
    if facts["schema_hash"] != SCHEMA.hash or not Dataset(settings.features).keeps_codes_of(facts):
        raise DataError(
            f"line {champion.number}, the champion, was trained with another schema or other codes than the features "
            "have now, so the two cannot be compared; train and publish the first line of the new ones by hand"
        )
    return champion.folder / RECIPE


def _judged(metrics: dict[str, Any], as_of: str) -> Judged:
    figures = {name: value for part in ("ranking", "retrieval") for name, value in metrics[part].items()}
    return Judged(figures=figures, as_of=datetime.fromisoformat(as_of))
