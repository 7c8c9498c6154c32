"""The gate on real models: champion and challenger on the same window, each by the recipe it was made with."""

import shutil

import pytest

from deploy.local.serve import Platform
from deploy.settings import Settings
from training.daily import challenger
from training.daily.champion import champion_line
from training.daily.gate import Rules
from training.lines import FOREST, METRICS, RECIPE, latest, read_json

pytestmark = [
    pytest.mark.e2e, pytest.mark.spark, pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]  # fmt: skip
DAY = "2000-01-01"


def test_the_champion_against_itself_lacks_nothing_but_freshness(settings: Settings, stack: Platform) -> None:
    champion = champion_line(settings)
    assert champion is not None
    folder = settings.daily / DAY
    try:
        shutil.copytree(champion.folder / RECIPE, folder / RECIPE)
        verdict = challenger.gate(settings, DAY, Rules())
    finally:
        shutil.rmtree(settings.daily, ignore_errors=True)
    figures = {check["name"]: (check["champion"], check["challenger"]) for check in verdict["checks"]}
    assert [check["name"] for check in verdict["checks"] if not check["passed"]] == ["fresher"]
    for name in ("auc", "ndcg_at_10", "calibration_error", "coverage_at_100"):
        assert figures[name][0] == pytest.approx(figures[name][1], abs=1e-9), name


def test_a_line_keeps_the_recipe_it_was_judged_by(settings: Settings, stack: Platform) -> None:
    line = latest(settings.lines)
    recipe = line.folder / RECIPE
    assert {k: v for k, v in line.metrics.items() if k != "line"} == read_json(recipe / METRICS)
    assert (recipe / FOREST).read_bytes() != (line.folder / FOREST).read_bytes()  # the refit saw more
