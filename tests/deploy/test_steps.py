"""Pipeline steps: stamped, resumed, and run again when what they depend on changed."""

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local.errors import EarlyDeathError, StepError
from deploy.local.steps import INGEST, PUBLISH, Step, Steps
from deploy.settings import Settings
from tests.ports import isolated_settings

pytestmark = pytest.mark.timeout(60)


def step(verb: str) -> Step:
    return Step(module="tests.deploy.fake_step", verb=verb, saying=verb)


WORKS, AFTER, FAILS, WAITS = step("works"), step("after"), step("fails"), step("waits")


def make(settings: Settings) -> tuple[Steps, io.StringIO]:
    settings.workspace.mkdir(parents=True, exist_ok=True)
    said = io.StringIO()
    return Steps(settings, Console(file=said)), said


def ran(settings: Settings) -> list[str]:
    return (settings.workspace / "ran.txt").read_text().split()


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)
    steps, said = make(settings)
    assert steps.run_missing([WORKS, AFTER]) == ["works", "after"]
    assert steps.run_missing([WORKS, AFTER]) == []
    assert ran(settings) == ["works", "after"]
    assert "✓ works" in said.getvalue()


def test_a_failed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)
    steps, _ = make(settings)
    with pytest.raises(StepError, match=r"failed: error: events.csv has no column user_id; add it"):
        steps.run_missing([WORKS, FAILS, AFTER])
    with pytest.raises(StepError):
        steps.run_missing([WORKS, FAILS, AFTER])
    assert ran(settings) == ["works", "fails", "fails"]


def test_what_follows_a_repeated_step_runs_again(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)
    steps, _ = make(settings)
    steps.run_missing([WORKS, AFTER])
    steps.forget(WORKS)
    assert steps.run_missing([WORKS, AFTER]) == ["works", "after"]


def test_a_stale_step_runs_alone(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)
    steps, _ = make(settings)
    steps.run_missing([WORKS, AFTER])
    assert steps.run_missing([WORKS, AFTER], stale=lambda one: one is WORKS) == []
    assert ran(settings) == ["works", "after", "works"]


def test_other_data_in_the_same_workspace_starts_over(tmp_path: Path) -> None:
    first = isolated_settings(tmp_path, source="files", data=tmp_path / "a")
    second = isolated_settings(tmp_path, source="files", data=tmp_path / "b")
    make(first)[0].run_missing([WORKS])
    assert make(second)[0].run_missing([WORKS]) == ["works"]


def test_the_death_of_a_server_ends_the_step(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)
    settings.workspace.mkdir(parents=True)

    def check() -> None:
        if (settings.workspace / "ran.txt").exists():
            raise EarlyDeathError("redis ended by itself")

    started = time.monotonic()
    with pytest.raises(EarlyDeathError):
        Steps(settings, Console(file=io.StringIO()), check).run_missing([WAITS])
    assert time.monotonic() - started < 20


def test_an_edited_source_is_read_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "events.csv").write_text("a")
    settings = isolated_settings(tmp_path, source="files", data=data)
    key = Steps(settings, Console(file=io.StringIO()))._key
    before = key(INGEST)
    assert key(INGEST) == before
    (data / "events.csv").write_text("ab")
    assert key(INGEST) != before


def test_another_index_is_published_again(tmp_path: Path) -> None:
    flat, ivf = (Steps(isolated_settings(tmp_path, index=i), Console(file=io.StringIO())) for i in ("flat", "ivf"))
    assert flat._key(PUBLISH) != ivf._key(PUBLISH)
    assert flat._key(INGEST) == ivf._key(INGEST)
