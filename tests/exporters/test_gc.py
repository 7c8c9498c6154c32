"""gc removes what nobody needs, and nothing else; it never guesses."""

import os
from pathlib import Path

import pytest

from deploy.settings import Settings
from exporters.collect import collect
from exporters.errors import ServerError, TrafficError
from exporters.manifest import read
from exporters.publish import served
from exporters.rollout import listed, promoted
from exporters.traffic import TrafficStore
from model_repository.traffic import HEARTBEAT_TTL_S, Heartbeat, heartbeat_key
from tests.exporters.releases import write_release
from training.lines import FACTS, ITEM_TOWER, USER_TOWER, new_line, write_json


@pytest.fixture
def settings(redis_server: Settings, tmp_path: Path) -> Settings:
    """Six releases of three lines; 1 and 4 are listed, 4 carries traffic. No Triton: nothing is loaded."""
    settings = redis_server.model_copy(update={"home": tmp_path, "triton_control": "none"})
    TrafficStore(settings)._redis.flushall()
    for number, line in ((1, 1), (2, 1), (3, 2), (4, 2), (5, 2), (6, 3)):
        write_release(settings.releases, number, line)
    for line in (1, 2, 3):
        folder = settings.lines / str(line)
        folder.mkdir(parents=True)
        (folder / USER_TOWER).write_bytes(b"u%d" % line)
        (folder / ITEM_TOWER).write_bytes(b"i")
        write_json(folder / FACTS, {"line": line})
    return settings


def publish(settings: Settings, *numbers: int) -> TrafficStore:
    """List the releases; the last one carries traffic."""
    store = TrafficStore(settings)
    for number in numbers:
        manifest = read(settings.releases / str(number))
        store.change(lambda before, m=manifest: listed(before, served(m, ("triton:1",))))  # type: ignore[misc]
    if len(numbers) > 1:
        store.change(lambda before: promoted(before, numbers[-1]))  # type: ignore[arg-type]
    return store


def left(settings: Settings) -> list[int]:
    return sorted(int(path.name) for path in settings.releases.iterdir() if path.name.isdigit())


def test_listed_and_newest_stay(settings: Settings) -> None:
    publish(settings, 1, 4)
    found = collect(settings, keep=1)
    assert found.paths == ("releases/2", "releases/3", "releases/5")
    assert found.bytes > 1000
    assert left(settings) == [1, 4, 6]


@pytest.mark.parametrize("keep", [3, 6, 9])
def test_so_many_of_the_newest_stay(settings: Settings, keep: int) -> None:
    publish(settings, 1)
    collect(settings, keep=keep)
    assert left(settings) == sorted({1, *range(max(7 - keep, 1), 7)})


def test_the_newest_always_stays(settings: Settings) -> None:
    """Its number would be given away again."""
    publish(settings, 1, 4)
    collect(settings, keep=0)
    assert left(settings) == [1, 4, 6]


def test_a_training_that_runs_keeps_its_draft(settings: Settings) -> None:
    publish(settings, 1, 4)
    with new_line(settings.lines) as line:
        write_json(line.folder / FACTS, {"line": 4})
        collect(settings)
    assert (settings.lines / "4").is_dir()


def test_versions_of_nobody_are_said_with_the_bytes_they_give_back(settings: Settings) -> None:
    """A version's files are links to its release's: both must go before a byte is free."""
    publish(settings, 1, 4)
    explicit = settings.model_copy(update={"triton_control": "explicit"})
    for number in (2, 4):
        version = settings.runtime_repository / "candidates" / str(number)
        version.mkdir(parents=True)
        for file in (settings.releases / str(number) / "candidates").iterdir():
            os.link(file, version / file.name)
    whole = collect(explicit, keep=1, dry_run=True)
    assert [path for path in whole.paths if "repository" in path] == ["model_repository/candidates/2"]
    assert whole.bytes == collect(settings, keep=1, dry_run=True).bytes + sum(
        file.stat().st_size for file in (settings.releases / "2" / "candidates").iterdir()
    )
    assert collect(explicit, keep=6, dry_run=True).bytes == 0


def test_drafts_and_names_without_a_version_leave_the_repository(settings: Settings) -> None:
    publish(settings, 1, 4)
    draft, empty = (settings.runtime_repository / name for name in ("ranker/.version-x", "ranker_0a0a0a0a"))
    for folder in (draft, draft.with_name("1"), empty):
        folder.mkdir(parents=True)
    (empty / "config.pbtxt").write_text("")
    collect(settings, keep=6)
    assert sorted(path.name for path in settings.runtime_repository.rglob("*")) == ["1", "ranker"]


def test_a_dry_run_removes_nothing(settings: Settings) -> None:
    publish(settings, 1, 4)
    assert collect(settings, keep=1, dry_run=True).paths == ("releases/2", "releases/3", "releases/5")
    assert left(settings) == [1, 2, 3, 4, 5, 6]


def test_what_an_orchestrator_may_still_call_stays(settings: Settings) -> None:
    store = publish(settings, 1, 4)
    beat = Heartbeat(instance="slow", at=0.0, sequence=1, releases=(3,))
    store._redis.set(heartbeat_key("slow"), beat.model_dump_json(), ex=HEARTBEAT_TTL_S)
    assert "releases/3" not in collect(settings, keep=1).paths


def test_lines_go_with_their_last_release(settings: Settings) -> None:
    publish(settings, 4)
    found = collect(settings, keep=1)
    assert "lines/1" in found.paths
    assert sorted(path.name for path in settings.lines.iterdir()) == ["2", "3"]


def test_drafts_mirrors_and_embeddings_of_nobody_go(settings: Settings) -> None:
    publish(settings, 1, 4)
    kept = read(settings.releases / "4").tower_digest
    for path in (settings.releases / ".release-x", settings.lines / ".line-x-gone", settings.embeddings / "old"):
        path.mkdir(parents=True)
    (settings.embeddings / kept).mkdir()
    for number in (2, 4):
        (settings.workspace / f"popular-{number}.json").write_text("{}")
    found = collect(settings, keep=6)
    assert found.paths == ("embeddings/old", "lines/.line-x-gone", "popular-2.json", "releases/.release-x")
    assert (settings.embeddings / kept).is_dir()
    assert (settings.workspace / "popular-4.json").is_file()


def test_without_a_record_nothing_is_guessed(settings: Settings) -> None:
    with pytest.raises(TrafficError, match="nothing carries traffic yet"):
        collect(settings)
    unreachable = settings.model_copy(update={"redis_port": 1})
    with pytest.raises(ServerError, match="Redis at"):
        collect(unreachable)
    assert left(settings) == [1, 2, 3, 4, 5, 6]
