"""A day is released once, whatever happens on the way; a bad one leaves what served as it was."""

import shutil
from pathlib import Path

import pytest

from tests.training.daily_shop import PASSED, KilledError, Shop, after, open_shop
from training.daily.errors import BadDayError, GateError, StepError
from training.daily.runner import Done
from training.daily.state import Journal, running
from training.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

EVERYTHING = ["ingest", "validate", "features", "materialize", "train", "gate", "refit", "publish", "warm"]
WORDS = [
    "training ingest", "training validate", "training features", "training drift", "training challenger refit",
    "exporters publish", "orchestrator warm", "exporters canary",
]  # fmt: skip


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a shop of ten days, the tenth of which is released and the champion."""
    home = tmp_path_factory.mktemp("shop") / "home"
    shop = open_shop(home, 10)
    assert shop.run(10)["arm"] == "champion"
    assert shop.commands == EVERYTHING
    return home


@pytest.fixture
def shop(opened: Path, tmp_path: Path) -> Shop:
    """A copy of it."""
    shutil.copytree(opened, tmp_path / "home")
    return open_shop(tmp_path / "home", 10)


def test_a_day_ends_in_a_canary_and_a_second_run_does_nothing(shop: Shop) -> None:
    shop.days[after(11)] = 110
    first = shop.run(11)
    assert (first["outcome"], first["line"], first["release"], first["arm"]) == ("released", 2, 2, "canary")
    assert [arm.share for arm in shop.traffic.arms] == [0.95, 0.05]
    assert shop.commands == [*EVERYTHING[:4], "drift", *EVERYTHING[4:], "canary"]
    record = shop.traffic
    assert shop.run(11) == first | {"again": True}
    assert shop.commands == []
    assert shop.traffic == record


@pytest.mark.parametrize("words", WORDS)
def test_killed_at_any_command_the_next_run_goes_on_and_publishes_once(shop: Shop, words: str) -> None:
    shop.days[after(11)] = 100
    shop.killed_after(words)
    with pytest.raises(KilledError):
        shop.run(11)
    assert shop.traffic.arms[0].release == 1
    before = set(shop.commands[:-1]) - {"publish", "canary"}
    assert shop.run(11)["outcome"] == "released"
    assert before & set(shop.commands) == set()  # what had ended was not done again
    assert [(r.release, r.line) for r in shop.traffic.releases] == [(1, 1), (2, 2)]
    assert shop.run(11)["again"]


def bad(shop: Shop, kind: str) -> str:
    if kind == "empty":
        return "2026-01-11: no events, the days before have 100; the newest day that has any is 2026-01-10"
    shop.days[after(11)] = {"tenfold": 1000, "thin": 5, "schema": 100}[kind]
    if kind == "schema":
        shop.dirty[after(11)] = 100
        return "2026-01-11: 0 of 100 events are clean, at least 80% were expected"
    few = "2026-01-11: 5 events, the days before have 100, at least 0.2 × that"
    return few if kind == "thin" else "2026-01-11: 1000 events, the days before have 100, at most 5 × that"


@pytest.mark.parametrize("kind", ["empty", "tenfold", "thin", "schema"])
def test_a_bad_day_is_refused_and_the_next_good_one_works(shop: Shop, kind: str) -> None:
    before = {name: shop.content(name) for name in ("raw", "tables", "features", "lines")}
    record, reason = shop.traffic, bad(shop, kind)
    with pytest.raises(BadDayError) as refusal:
        shop.run(11)
    assert str(refusal.value).startswith(reason)
    assert {name: shop.content(name) for name in before} == before
    assert shop.traffic == record
    assert {"features", "train", "publish"}.isdisjoint(shop.commands)
    report = (shop.settings.daily / "2026-01-11" / "report.md").read_text()
    assert reason in report
    shop.dirty.clear()
    shop.days |= {after(11): 100, after(12): 100}  # mended
    assert shop.run(12)["outcome"] == "released"


def test_a_mended_day_is_read_again_and_a_right_one_can_be_allowed(shop: Shop) -> None:
    shop.days[after(11)] = 1000
    for _ in range(2):
        with pytest.raises(BadDayError, match="--allow-day 2026-01-11"):
            shop.run(11)
    assert shop.run(11, allowed=frozenset({after(11)}))["outcome"] == "released"


def test_a_tenfold_day_is_still_refused_a_day_later(shop: Shop) -> None:
    shop.days |= {after(11): 1000, after(12): 100}
    with pytest.raises(BadDayError, match="2026-01-11: 1000 events"):
        shop.run(12)


def test_a_tenfold_day_that_an_hourly_run_has_read_is_refused_all_the_same(shop: Shop) -> None:
    shop.days[after(11)] = 1000
    shop.runner.answers["training ingest"](("training", "ingest"))
    with pytest.raises(BadDayError, match="2026-01-11: 1000 events"):
        shop.run(11)
    shop.days[after(12)] = 100
    with pytest.raises(BadDayError, match="2026-01-11: 1000 events"):
        shop.run(12)


def test_what_a_killed_bad_day_left_is_put_back_by_the_next_day(shop: Shop) -> None:
    good = shop.content("raw")
    shop.days[after(11)] = 1000
    shop.killed_after("training ingest")
    with pytest.raises(KilledError):
        shop.run(11)
    assert shop.content("raw") != good
    shop.days[after(12)] = 100
    with pytest.raises(BadDayError, match="2026-01-11: 1000 events"):
        shop.run(12)
    assert shop.content("raw") == good


def test_data_that_a_command_refuses_is_a_bad_day(shop: Shop) -> None:
    good = shop.content("raw")
    shop.days[after(11)] = 100
    shop.runner.answers["training validate"] = lambda _: Done(code=2, said="raw/events: 5 of 9 rows are clean")
    with pytest.raises(BadDayError, match="2026-01-11: validate: raw/events: 5 of 9 rows are clean"):
        shop.run(11)
    assert shop.content("raw") == good


def test_a_refused_challenger_leaves_no_line_and_is_judged_again_not_trained(shop: Shop) -> None:
    shop.days[after(11)] = 100
    check = {"name": "auc", "champion": 0.8, "challenger": 0.7, "limit": 0.795, "passed": False, "reason": "auc 0.7 …"}
    shop.verdict = PASSED | {"passed": False, "reason": "auc 0.7 …", "checks": [check]}
    with pytest.raises(GateError, match=r"2026-01-11: the challenger is refused: auc 0\.7"):
        shop.run(11)
    assert {"refit", "publish", "canary"}.isdisjoint(shop.commands)
    assert [p.name for p in shop.settings.lines.iterdir()] == ["1"]
    folder = shop.settings.daily / "2026-01-11"
    assert (folder / "report.html").read_text().count("data:image/svg") == 3
    assert "| auc | 0.8000 | 0.7000 | ≥ 0.7950 | auc 0.7 … |" in (folder / "report.md").read_text()
    shop.verdict = PASSED
    assert shop.run(11)["outcome"] == "released"
    assert "train" not in shop.commands


def test_a_step_that_fails_says_which_and_is_tried_again(shop: Shop) -> None:
    shop.days[after(11)] = 100
    works = shop.runner.answers["exporters publish"]
    shop.runner.answers["exporters publish"] = lambda _: Done(code=2, said="Triton at a:1: not ready")
    with pytest.raises(StepError, match=r"publish failed with exit code 2: Triton at a:1: not ready \["):
        shop.run(11)
    assert shop.commands[-1] == "publish"
    shop.runner.answers["exporters publish"] = works
    assert shop.run(11)["outcome"] == "released"
    assert shop.commands == ["publish", "warm", "canary"]


def test_an_early_run_trains_only_when_something_drifted_and_once_a_day(shop: Shop) -> None:
    shop.days[after(11)] = 3  # the day goes on
    told = shop.run(11, early=True)
    assert (told["outcome"], told["reason"]) == ("stable", "2026-01-11-early: drift is stable, nothing to train for")
    assert shop.commands[-1] == "drift"
    shop.drift = "drifted"
    assert shop.run(11, early=True)["release"] == 2
    shop.commands  # noqa: B018
    assert shop.run(11, early=True)["again"]
    assert shop.commands == []


def test_nobody_is_sent_to_it_with_0_percent(shop: Shop) -> None:
    shop.days[after(11)] = 100
    assert shop.run(11, percent=0.0)["arm"] is None
    assert len(shop.traffic.arms) == 1


def test_two_runs_at_once_are_refused(shop: Shop) -> None:
    with running(shop.settings.daily), pytest.raises(StepError, match=r"another daily run is at work .* \(pid \d+\)"):
        shop.run(11)


def test_an_unreadable_state_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"day": 3}')
    with pytest.raises(DataError, match=r"state.json: .*; remove the file to start the day again"):
        Journal.open(tmp_path)
