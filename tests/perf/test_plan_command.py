"""The two commands as a person runs them: the last line is JSON, reports lie where they were asked for."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from deploy.settings import Settings
from perf.commands.plan import plan
from perf.errors import PerfError
from perf.roofline.facts import newest_facts
from tests.perf.planning import PROFILE


def run(*words: str) -> str:
    app = typer.Typer()
    app.command()(plan)
    return CliRunner().invoke(app, words, catch_exceptions=False).stdout


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    path.write_text(PROFILE.model_dump_json())
    return path


def test_a_plan_ends_with_its_document(profile: Path, tmp_path: Path) -> None:
    saved, report = tmp_path / "plan.json", tmp_path / "out" / "plan.html"
    words = ("--rate", "7200", "--items", "1000000", "--users", "1000000", "--gpu", "none", "--json")
    found = json.loads(
        run(*words, "--profile", str(profile), "--save", str(saved), "--report", str(report)).splitlines()[-1]
    )
    assert [one["variant"] for one in found["plans"]] == ["cpu"]
    assert found["plans"][0]["pools"]["orchestrator"]["replicas"] == 11
    assert json.loads(saved.read_text())["demand"]["rate"] == 7200
    assert report.read_text().startswith("<!doctype html>")
    assert report.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_an_odd_demand_is_one_line(profile: Path) -> None:
    for option, value in (("--probed", "0.0"), ("--rate", "inf"), ("--p99-ms", "inf")):
        with pytest.raises(PerfError, match=rf"^{option[2:].replace('-', '_')} is {value}, must be [^\n]*$"):
            run(option, value, "--profile", str(profile))


def test_a_roofline_needs_a_release(tmp_path: Path) -> None:
    with pytest.raises(PerfError, match="has no release; run `make serve`"):
        newest_facts(Settings(home=tmp_path))
