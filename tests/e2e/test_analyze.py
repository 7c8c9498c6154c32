"""perf_analyzer itself, on the real Triton."""

from functools import partial
from pathlib import Path

import pytest

from deploy.local.serve import Platform
from deploy.settings import Settings
from perf.analyze.points import Client, Load, Target
from perf.analyze.runs import run
from perf.analyze.statistics import reader, settled
from perf.analyze.sweep import sweep, targets
from perf.binary import obtain
from perf.errors import PerfError
from perf.release import newest

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.timeout(900)]


def test_every_model_answers_a_release_s_own_requests(settings: Settings, stack: Platform, tmp_path: Path) -> None:
    binary, (manifest, line) = obtain(), newest(settings)
    aims = targets(settings, manifest, line)

    def drive(target: Target, load: Load) -> Client:
        return run(binary, settings.triton_url, target, load, 1.5, tmp_path / "result.csv")

    points = list(sweep(aims, [Load(mode="rate", value=20.0)], drive, partial(settled, reader(settings.triton_url))))
    assert [(point.model, point.error) for point in points] == [(aim.name, None) for aim in aims]
    assert all(point.own is not None and point.own.requests > 10 and not point.own.failed for point in points)
    assert [stage.stage for stage in points[-1].stages] == ["candidates", "assemble", "ranker"]
    for stage in points[-1].stages:
        assert stage.compute_ms > 0


def test_an_unknown_model_is_named(settings: Settings, stack: Platform) -> None:
    with pytest.raises(PerfError, match="--model rankr: no such model; known: user_tower"):
        targets(settings, *newest(settings), ["rankr"])
