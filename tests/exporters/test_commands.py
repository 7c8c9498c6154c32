"""The commands: what they say, what they refuse, and that a dry run changes nothing."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner, Result

from deploy.settings import ROOT, Settings, child_environment, load_settings, trident_variables
from exporters.__main__ import app
from exporters.errors import ExportError, ManifestError, ServerError, TrafficError
from exporters.manifest import read
from exporters.publish import served
from exporters.rollout import canaried, listed
from exporters.traffic import TrafficStore
from feature_repo.served import FIELD, IMPRESSIONS
from model_repository.traffic import Traffic
from tests.exporters.releases import write_release


@pytest.fixture
def settings(redis_server: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Releases 1, 2 and 3 on disk; 1 is the champion, 2 is listed. The environment says so."""
    settings = redis_server.model_copy(update={"home": tmp_path})
    store = TrafficStore(settings)
    store._redis.flushall()
    for number in (1, 2, 3):
        write_release(settings.releases, number, line=number)
    for number in (1, 2):
        manifest = read(settings.releases / str(number))
        store.change(lambda before, m=manifest: listed(before, served(m, ("127.0.0.1:1",))))  # type: ignore[misc]
    for name, value in trident_variables(settings).items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    yield settings
    load_settings.cache_clear()


def run(*words: str) -> Result:
    result = CliRunner().invoke(app, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def document(*words: str) -> dict[str, object]:
    result = run(*words, "--json")
    assert result.exit_code == 0
    found: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return found


def record(settings: Settings) -> Traffic:
    return TrafficStore(settings).require()


def test_list_says_who_is_sent_to_what(settings: Settings) -> None:
    rows = document("list")["releases"]
    assert isinstance(rows, list)
    assert [(row["release"], row["state"], row["share"]) for row in rows] == [
        (1, "champion", 1.0), (2, "listed", 0.0), (3, None, 0.0),
    ]  # fmt: skip


def test_list_works_while_redis_is_away(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIDENT_REDIS_PORT", "1")
    load_settings.cache_clear()
    rows = document("list")["releases"]
    assert isinstance(rows, list)
    assert rows[0]["state"] == "champion"  # from the mirror


def test_show_tells_one_release(settings: Settings) -> None:
    shown = document("show", "2")
    assert (shown["state"], shown["line"]) == ("listed", 2)
    with pytest.raises(ManifestError, match="not a release"):
        run("show", "9")


def test_verify_says_how_many_files(settings: Settings) -> None:
    assert document("verify", "1") == {"release": 1, "files": 9}
    (settings.releases / "1" / "ranker" / "more.npy").write_bytes(b"")
    with pytest.raises(ManifestError, match=r"more\.npy is not in the manifest"):
        run("verify", "1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("promote", "3"), r"release 3 is not published; published are \[1, 2\]"),
        (("canary", "1"), r"release 1 is the champion; published are \[2\]"),
        (("canary", "2", "--percent", "100"), "not 100 %"),
        (("rollback", "7"), "release 7 is not published"),
        (("retire", "1"), "release 1 carries traffic"),
        (("ramp", "3"), "release 3 is not published"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_changes(
    settings: Settings, words: tuple[str, ...], message: str
) -> None:
    before = record(settings)
    with pytest.raises(TrafficError, match=message):
        run(*words)
    assert record(settings) == before


def test_users_are_not_sent_where_triton_is_not_ready(settings: Settings) -> None:
    before = record(settings)
    for words in (("promote", "2"), ("canary", "2")):
        with pytest.raises(ServerError, match=r"recommend_2 version 1 is not ready on Triton at 127\.0\.0\.1:1"):
            run(*words)
    assert record(settings) == before
    run("promote", "2", "--force", "--reason", "an emergency")
    assert record(settings).carried == {2}
    assert record(settings).changed.reason == "an emergency"


@pytest.mark.parametrize("words", [("promote", "2"), ("canary", "2", "--percent", "20"), ("retire", "2")])
def test_a_dry_run_says_what_would_be(settings: Settings, words: tuple[str, ...]) -> None:
    before = record(settings)
    would = document(*words, "--dry-run")
    assert would != before.model_dump(mode="json")
    assert record(settings) == before


def test_guard_looks_and_finds_nothing_to_do(settings: Settings) -> None:
    assert document("guard", "--once")["canary"] is None
    TrafficStore(settings).change(lambda before: canaried(before, 2, 0.1))  # type: ignore[arg-type]
    seen = document("guard", "--once")
    assert (seen["canary"], seen["rolled_back"]) == (2, False)


def test_exposures_end_with_an_alarm_when_the_split_is_wrong(settings: Settings) -> None:
    with pytest.raises(ExportError, match="serve some requests first"):
        run("exposures")
    after = TrafficStore(settings).change(lambda before: canaried(before, 2, 0.5))  # type: ignore[arg-type]
    at = after.changed.at.timestamp() + 60
    with redis.Redis(port=settings.redis_port) as client:
        for n in range(100):
            entry = json.dumps({"at": at, "user_id": f"u{n}", "variant": "champion"})
            client.xadd(IMPRESSIONS, {FIELD: entry}, id=f"{int(1000 * at)}-{n + 1}")
    assert run("exposures").exit_code == 3


def test_keys_are_made_once(settings: Settings, tmp_path: Path) -> None:
    assert Path(str(document("keygen", str(tmp_path / "keys"))["private"])).is_file()
    with pytest.raises(ExportError, match="holds a key already"):
        run("keygen", str(tmp_path / "keys"))


def test_a_refusal_is_one_line_and_exit_code_2(settings: Settings) -> None:
    command = [sys.executable, "-m", "exporters", "promote", "3", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, env=child_environment(settings), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: release 3 is not published; published are [1, 2]\n"
