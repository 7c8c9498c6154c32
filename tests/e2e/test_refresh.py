"""The hourly refresh on the running stack: what it writes, what it leaves alone, killed halfway, and whom it serves."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from deploy.local.runtime import TritonServer
from deploy.local.serve import Platform
from deploy.settings import ROOT, Settings, child_environment
from exporters.build import build_release, load_catalogue
from exporters.embeddings import FILE, Embeddings
from exporters.manifest import read, release_numbers
from exporters.publish import publish, stage
from exporters.refresh import Options, Refreshed, refresh, require_refreshed
from exporters.repository import installed
from exporters.retire import retire
from exporters.rollout import canaried, promoted
from exporters.server import Server
from exporters.shift import shift
from exporters.traffic import TrafficStore
from exporters.verify import verify
from feature_repo.displays import WRITTEN
from feature_repo.rows import display_key
from feature_repo.vectors import item_key
from model_repository.contract import CANDIDATE_SEARCH
from model_repository.traffic import HEARTBEATS, TRAFFIC_KEY, Traffic, popular_key
from tests.ports import isolated_settings
from training.adapters.canonical import SCHEMAS, write_raw
from training.adapters.source import read_source
from training.lines import Line, latest
from training.matrices import Graphs

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.timeout(600)]
FOLDERS = ("raw", "tables", "features")
NEW = "just-listed"
USERS = [f"u{number:05d}" for number in range(60, 90)]
SOON = Options(grace_s=1.0)
KEPT = Options(grace_s=1.0, keep=True)


def quiet(_: str) -> None:
    """A report that nobody reads."""


def one(settings: Settings, options: Options = SOON) -> Refreshed:
    """The outcome of the only line."""
    (done,) = refresh(settings, quiet, options)
    return done


@pytest.fixture(scope="module", autouse=True)
def put_back(settings: Settings, stack: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Afterwards everything is as it was: the data, and release 1 alone."""
    safe = tmp_path_factory.mktemp("before")
    for name in FOLDERS:
        shutil.copytree(settings.workspace / name, safe / name)
    yield
    for name in FOLDERS:
        shutil.rmtree(settings.workspace / name)
        shutil.copytree(safe / name, settings.workspace / name)
    publish(settings, 1, quiet)
    if (record := TrafficStore(settings).require()).carried != {1}:
        shift(settings, lambda before: promoted(before, 1))
    for number in (served.release for served in record.releases if served.release != 1):
        retire(settings, number, quiet, grace_s=1.0)
    for number in release_numbers(settings.releases)[1:]:
        shutil.rmtree(settings.releases / str(number))


@pytest.fixture(scope="module")
def an_hour_later(settings: Settings, stack: Platform) -> str:
    """A new item without events and another title, through `training hourly`; returns the id of the changed item."""
    raw = {name: pq.read_table(settings.raw / name) for name in SCHEMAS}
    source = read_source(settings.raw)
    assert source.as_of is not None
    now = source.as_of + timedelta(hours=1)
    rows = raw["items"].to_pylist()
    rows[5]["title"] = "An entirely other thing"
    new = rows[6] | {"item_id": NEW, "title": "Never seen before", "created_at": now, "regions": None}
    rows.append(new | {"in_stock": True, "is_safe": True})
    raw["items"] = pa.Table.from_pylist(rows, raw["items"].schema)
    write_raw(settings.raw, source.at(now), raw)
    command = [sys.executable, "-m", "training", "hourly", "--json"]
    subprocess.run(command, cwd=ROOT, env=child_environment(settings), check=True, capture_output=True)
    return str(rows[5]["item_id"])


def sell_out(settings: Settings, row: int) -> None:
    """Another change of the catalogue table: one that no tower sees."""
    (path,) = (settings.tables / "items").glob("*.parquet")
    rows = pq.read_table(path)
    stock = rows["in_stock"].to_pylist()
    stock[row] = not stock[row]
    place = rows.column_names.index("in_stock")
    pq.write_table(rows.set_column(place, rows.schema.field(place), pa.array(stock, pa.bool_())), path)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every file and version folder."""
    found = [p for p in folder.rglob("*") if p.is_file() or p.name.isdigit()]
    return {str(p.relative_to(folder)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in found}


def dumped(settings: Settings) -> dict[str, bytes]:
    """Every value in Redis but the heartbeats, which go on by themselves."""
    with redis.Redis.from_url(settings.redis_url) as store:
        keys = [key for key in store.scan_iter(count=1000) if not key.startswith(HEARTBEATS.encode())]
        return {key.decode("latin-1"): store.dump(key) for key in keys}  # some end in a digest


def embedding_lookups(api: httpx.Client) -> dict[str, float]:
    prefix = 'cache_lookups_total{cache="embedding",result="'
    lines = [line for line in api.get("/metrics").text.splitlines() if line.startswith(prefix)]
    return {line.removeprefix(prefix).partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines}


def ask(api: httpx.Client) -> set[tuple[str, object]]:
    found = [api.post("/v1/recommend", json={"user_id": user, "num_items": 5}) for user in USERS]
    assert {answer.status_code for answer in found} == {200}
    return {(answer.json()["model_version"], answer.json()["degraded"]) for answer in found}


def until_served(api: httpx.Client, number: int | None) -> None:
    deadline = time.monotonic() + 10
    while ask(api) != {(str(number), None)}:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def record(settings: Settings) -> Traffic:
    return TrafficStore(settings).require()


def test_it_writes_only_what_changed_and_no_user_is_embedded_again(
    settings: Settings, api: httpx.Client, an_hour_later: str
) -> None:
    for _ in range(2):
        until_served(api, 1)
        time.sleep(0.5)  # embeddings and what was shown are written after the answer
    lookups = embedding_lookups(api)
    repository, values = files(settings.runtime_repository), dumped(settings)
    foreseen = one(settings, Options(dry_run=True))
    assert (foreseen.outcome, foreseen.release) == ("changed", None)
    assert (files(settings.runtime_repository), dumped(settings)) == (repository, values)

    done = one(settings, KEPT)
    assert (done.outcome, done.before, done.line, done.encoded) == ("refreshed", 1, 1, foreseen.encoded)
    assert 2 <= done.encoded < done.items
    number = done.release
    after = files(settings.runtime_repository)
    assert {path: after[path] for path in repository} == repository
    added = {tuple(path.split("/")[:2]) for path in set(after) - set(repository)}
    assert added == {("candidates", str(number)), (f"recommend_{number}", "config.pbtxt"), (f"recommend_{number}", "1")}
    changed = {key for key, value in dumped(settings).items() if values.get(key) != value}
    assert changed == {TRAFFIC_KEY, popular_key(number or 0), WRITTEN, display_key(NEW), display_key(an_hour_later)}
    assert set(values) <= set(dumped(settings))

    until_served(api, number)
    after_it = embedding_lookups(api)
    assert after_it["miss"] == lookups["miss"]
    assert after_it["hit"] >= lookups["hit"] + len(USERS)


def test_the_new_release_is_the_same_line_and_holds_the_new_item(settings: Settings, an_hour_later: str) -> None:
    number = max(release_numbers(settings.releases))
    before, after = read(settings.releases / "1"), verify(settings.releases / str(number))
    assert after.index.items == before.index.items + 1
    assert (after.index.kind, after.index.codec, after.index.nlist) == (
        before.index.kind, before.index.codec, before.index.nlist,
    )  # fmt: skip
    assert (after.parent, after.line, after.tower_digest) == (1, before.line, before.tower_digest)
    assert after.as_of > before.as_of
    for name in ("user_tower", "item_tower", "assemble", "ranker", "explain"):
        assert after.slots[name] == before.slots[name]
        assert (settings.releases / str(number) / name).is_dir()
    known = np.load(settings.embeddings / after.tower_digest / FILE)
    vector = known["vector"][known["key"] == item_key(NEW)]
    slot = after.slots[CANDIDATE_SEARCH.name]
    query = {"user_embedding": vector, "country": np.zeros((1, 1), np.int32)}
    answer = Server(settings.triton_url).infer(CANDIDATE_SEARCH, slot.model, slot.version, query)
    assert answer["item_key"][0, 0] == item_key(NEW)


def test_vectors_that_were_kept_are_those_the_tower_gives_now(settings: Settings, an_hour_later: str) -> None:
    """As far as an age may move before an item is encoded again."""
    line = latest(settings.lines)
    table, content = load_catalogue(settings)
    known = Embeddings(settings.embeddings / line.tower_digest, table.keys, table.features, content)
    assert known.current
    exact = Graphs(line.folder).embed_items(table.features, content)
    assert np.einsum("nd,nd->n", known.vectors(Graphs(line.folder).embed_items), exact).min() > 0.998


def test_nothing_changed_is_no_release(settings: Settings, an_hour_later: str) -> None:
    before, releases = record(settings), release_numbers(settings.releases)
    done = one(settings, KEPT)
    assert (done.outcome, done.encoded, done.release) == ("unchanged", 0, done.before)
    assert (record(settings), release_numbers(settings.releases)) == (before, releases)


def test_the_generations_before_retire(settings: Settings, api: httpx.Client, an_hour_later: str) -> None:
    current = one(settings)
    assert current.outcome == "unchanged"
    assert [served.release for served in record(settings).releases] == [current.before]
    assert {version for name, version in installed(settings.runtime_repository) if name == "candidates"} == {
        current.before
    }
    until_served(api, current.before)


def test_killed_at_any_step_the_next_run_goes_on(settings: Settings, api: httpx.Client, an_hour_later: str) -> None:
    sell_out(settings, 3)
    before, releases = record(settings), release_numbers(settings.releases)
    number = releases[-1] + 1
    built: dict[str, list[int]] = {"writing": [], "send its users": [number]}
    for step, more in built.items():
        command = [sys.executable, "-m", "tests.e2e.killed_refresh", step]
        ended = subprocess.run(
            command, cwd=ROOT, env=child_environment(settings), check=False, capture_output=True, text=True
        )
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert ended.stdout.splitlines()[-1].startswith(step)
        assert release_numbers(settings.releases) == [*releases, *more]  # built once, then taken up
        assert record(settings).carried == before.carried
        assert {version for version, _ in ask(api)} == {str(releases[-1])}
    done = one(settings)
    assert (done.outcome, done.release, done.encoded) == ("refreshed", number, 0)
    assert release_numbers(settings.releases) == [*releases, number]
    assert not list(settings.releases.glob(".release-*"))
    assert [served.release for served in record(settings).releases] == [number]
    until_served(api, number)


@pytest.fixture
def other_line(settings: Settings, an_hour_later: str) -> Iterator[int]:
    """The canary's release: of a second line, which is a copy of the first."""
    first = latest(settings.lines)
    line = Line(first.number + 1, settings.lines / str(first.number + 1))
    shutil.copytree(first.folder, line.folder)
    number = int(build_release(settings, line, quiet).name)
    publish(settings, number, quiet)
    shift(settings, lambda before: canaried(before, number, 0.25))
    yield number
    shift(settings, lambda before: promoted(before, before.arms[0].release))
    shutil.rmtree(line.folder)


def test_champion_and_canary_keep_their_users(settings: Settings, api: httpx.Client, other_line: int) -> None:
    sell_out(settings, 4)
    before = record(settings)
    done = refresh(settings, quiet, SOON)
    require_refreshed(done)
    assert [(r.line, r.outcome, r.encoded) for r in done] == [(1, "refreshed", 0), (2, "refreshed", 0)]
    after = record(settings)
    assert [(arm.variant, arm.share) for arm in after.arms] == [(arm.variant, arm.share) for arm in before.arms]
    assert [arm.release for arm in after.arms] == [r.release for r in done]
    assert after.champions[-1] == done[0].release
    assert {served.release for served in after.releases} == after.carried


def test_where_triton_loads_nothing_it_waits_for_a_server_that_has_it(
    settings: Settings, api: httpx.Client, an_hour_later: str, tmp_path: Path
) -> None:
    sell_out(settings, 5)
    before, waiting = record(settings), settings.model_copy(update={"triton_control": "none"})
    built = one(waiting)
    assert (built.outcome, record(settings)) == ("built", before)
    assert f"`stage {built.release} FOLDER`" in built.reason
    stage(settings, built.release or 0, tmp_path / "staged")
    green = isolated_settings(tmp_path / "green", triton_control="none")
    with TritonServer(green, repository=tmp_path / "staged"):
        done = one(waiting, Options(triton=(green.triton_url,), keep=True))
        assert (done.outcome, done.release) == ("refreshed", built.release)
        assert record(settings).endpoints == (settings.triton_url, green.triton_url)
        until_served(api, done.release)
        shift(settings, lambda now: promoted(now, built.before))
        until_served(api, built.before)
