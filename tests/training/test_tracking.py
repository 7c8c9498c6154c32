"""What MLflow is told, in its real database."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.settings import ROOT, Settings
from tests.ports import isolated_settings
from training.tracking import CHALLENGER, CHAMPION, MODEL, client, finish, follow, track

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two days tracked, the second one twice."""
    settings = isolated_settings(tmp_path_factory.mktemp("tracking"))
    settings.workspace.mkdir(parents=True)
    for day, line in (("2026-01-01", 1), ("2026-01-02", 2), ("2026-01-02", 2)):
        run = track(settings, day, {"mode": "superior", "champion_line": None}, {"auc": 0.5 + line / 10}, line)
    (settings.workspace / "report.md").write_text("fine")
    finish(settings, run, "released", [settings.workspace / "report.md"])
    return settings


def aliases(settings: Settings) -> dict[str, str]:
    return {alias: str(version) for alias, version in client(settings).get_registered_model(MODEL).aliases.items()}


def test_runs_end_and_a_line_is_one_version(settings: Settings) -> None:
    tracker = client(settings)
    experiment = tracker.get_experiment_by_name("daily")
    runs = {(run.info.run_name, run.info.status): run for run in tracker.search_runs([experiment.experiment_id])}
    assert set(runs) == {("2026-01-01", "RUNNING"), ("2026-01-02", "KILLED"), ("2026-01-02", "FINISHED")}
    data = runs["2026-01-02", "FINISHED"].data
    assert (data.metrics["auc"], data.params["mode"], data.tags["outcome"]) == (0.7, "superior", "released")
    versions = tracker.search_model_versions(f"name = '{MODEL}'")
    assert sorted(version.tags["line"] for version in versions) == ["1", "2"]


def test_the_report_is_kept_below_the_workspace(settings: Settings) -> None:
    kept = list((settings.daily / "artifacts").rglob("report.md"))
    assert [path.read_text() for path in kept] == ["fine"]


def test_aliases_follow_and_go(settings: Settings) -> None:
    follow(settings, 1, 2)
    assert aliases(settings) == {CHAMPION: "1", CHALLENGER: "2"}
    follow(settings, 2, None)
    assert aliases(settings) == {CHAMPION: "2"}
    follow(settings, 99, None)  # a line that was never tracked
    assert aliases(settings) == {}


def test_nothing_is_created_where_nothing_was_tracked(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)
    follow(settings, 1, None)
    assert not settings.tracking.exists()


@pytest.mark.parametrize(("first", "said"), [("client(load_settings())", "True"), ("None", "False")])
def test_telemetry_is_off(tmp_path: Path, first: str, said: str) -> None:
    """In a process of its own: MLflow itself turns it off where it sees a test."""
    code = (
        "from deploy.settings import load_settings; from training.tracking import client; import mlflow.telemetry; "
        f"{first}; print(mlflow.telemetry.get_telemetry_client() is None)"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TRIDENT_HOME": str(tmp_path)}
    (tmp_path / "sample-default-1").mkdir()
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said
