"""The challenger's stages as far as they need no model, and the commands as child processes."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.settings import ROOT, Settings
from feature_repo.schema import SCHEMA
from tests.training.daily_shop import Shop, after, open_shop
from training.daily import challenger
from training.daily.errors import StepError
from training.daily.gate import Rules
from training.daily.options import options_of
from training.daily.runner import Children
from training.daily.state import running
from training.errors import DataError
from training.lines import FACTS, LEARNT, RECIPE, VERDICT, latest, new_line, write_json

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
DAY = "2026-01-10"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A day whose recipe was learnt and passed the gate."""
    settings = open_shop(tmp_path, 1).settings
    (settings.daily / DAY / RECIPE).mkdir(parents=True)
    write_json(settings.daily / DAY / RECIPE / LEARNT, {"as_of": "2026-01-10", "epochs": 1, "rounds": {}})
    write_json(settings.daily / DAY / VERDICT, {"passed": True})
    return settings


def report(name: str, done: int, total: int) -> None:
    """Nobody watches."""


def line(settings: Settings, **facts: object) -> None:
    with new_line(settings.lines) as made:
        write_json(made.folder / FACTS, facts)


def test_a_line_that_a_killed_run_refitted_is_taken_up(settings: Settings) -> None:
    line(settings, day="2026-01-09", as_of="2026-01-09")
    line(settings, day=DAY, as_of="2026-01-10")
    assert challenger.refit_line(settings, DAY, report) == {"line": 2}


def test_a_line_of_another_recipe_of_that_day_is_not(settings: Settings) -> None:
    line(settings, day=DAY, as_of="2026-01-09")
    with pytest.raises(DataError, match="training features"):  # it went on to refit
        challenger.refit_line(settings, DAY, report)


@pytest.mark.parametrize("verdict", [{"passed": False}, None])
def test_without_passing_the_gate_nothing_is_refitted(settings: Settings, verdict: dict[str, bool] | None) -> None:
    line(settings, day=DAY, as_of="2026-01-10")
    path = settings.daily / DAY / VERDICT
    write_json(path, verdict) if verdict else path.unlink()
    with pytest.raises(DataError, match="the gate has not let the challenger of 2026-01-10 pass"):
        challenger.refit_line(settings, DAY, report)


def test_a_champion_of_another_schema_cannot_be_compared(settings: Settings) -> None:
    line(settings, schema_hash="other", vocabulary="v", as_of=DAY)
    assert SCHEMA.hash != "other"
    publish(settings)
    with pytest.raises(DataError, match="line 1, the champion, was trained with another schema or other codes"):
        challenger.gate(settings, DAY, Rules())


def test_a_champion_whose_line_is_gone_is_named(settings: Settings) -> None:
    line(settings, day=DAY)
    publish(settings)
    latest(settings.lines).folder.rename(settings.workspace / "elsewhere")
    with pytest.raises(DataError, match="the champion's line is gone"):
        challenger.gate(settings, DAY, Rules())


def publish(settings: Settings) -> None:
    Shop(settings).runner.answers["exporters publish"](("exporters", "publish"))


def test_a_killed_refit_leaves_no_draft_behind(settings: Settings) -> None:
    (settings.lines / f".line-{DAY}").mkdir(parents=True)
    with new_line(settings.lines, DAY) as made:
        assert list(made.folder.iterdir()) == []
        write_json(made.folder / FACTS, {"day": DAY})
    assert [path.name for path in settings.lines.iterdir()] == ["1"]


def test_a_child_that_refuses_says_why_and_one_that_works_answers(settings: Settings, tmp_path: Path) -> None:
    with running(settings.daily) as lock:
        run = Children(settings, lock)
        done = run(("training", "validate", "--json"), tmp_path / "validate.log")
        assert (done.code, done.result) == (2, {})
        assert done.said.endswith("run `python -m training ingest` first")
        works = run(("training", "challenger", "refit", DAY, "--json"), tmp_path / "refit.log")
    assert works.code == 2  # no features: as in the test above, but from a process of its own
    assert "training features" in works.said


def test_a_child_that_outlives_a_killed_run_keeps_the_next_one_out(settings: Settings, tmp_path: Path) -> None:
    with running(settings.daily) as lock:
        command = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"]
        child = subprocess.Popen(command, pass_fds=(lock,), cwd=ROOT, stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
    with child:
        try:
            with pytest.raises(StepError, match="another daily run"), running(settings.daily):
                pass
        finally:
            child.kill()
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        try:
            with running(settings.daily):
                return
        except StepError:
            time.sleep(0.05)
    pytest.fail("the lock was not given back")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--day", "yesterday"], 2, "yesterday"),
        (["--percent", "100"], 2, "less than 100 %"),
        (["--tolerance", "recall=1"], 2, "known: auc, ndcg_at_10"),
        (["--least", "2"], 2, "the least is below 1"),
        (["--day", str(after(1))], 2, "TRIDENT_DATA"),  # a day whose source cannot be read is a bad day
    ],
)
def test_the_command_refuses_with_one_line(tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "TRIDENT_HOME": str(tmp_path), "TRIDENT_SOURCE": "movielens"}
    command = [sys.executable, "-W", "ignore", "-m", "training", "daily", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert says in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_an_early_run_is_of_today_another_one_of_yesterday() -> None:
    limits = (0.2, 5.0, 0.8)
    early, usual = (options_of(None, e, 5.0, "superior", 0.01, (), limits, ()) for e in (True, False))
    assert (early.day - usual.day).days == 1
    assert (early.key, usual.key) == (f"{early.day}-early", str(usual.day))
