"""Publishing beside a release that serves: killed at every step, onto a Triton that dies, with another contract, and
into servers that load nothing themselves. The champion never notices."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from deploy.local.processes import groups
from deploy.local.runtime import TritonServer
from deploy.local.serve import Platform
from deploy.settings import ROOT, Settings, child_environment
from exporters.build import build_release
from exporters.errors import BusyError, ExportError, ServerError, TrafficError
from exporters.lock import publishing
from exporters.manifest import FILE, file_entries, read
from exporters.publish import publish, restore, stage
from exporters.repository import installed
from exporters.retire import retire
from exporters.rollout import canaried, promoted, rolled_back
from exporters.server import Server
from exporters.shift import shift
from exporters.traffic import TrafficStore
from model_repository.contract import recommend_name
from tests.ports import isolated_settings
from training.lines import latest

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.timeout(600)]
STEPS = (
    "verify",
    "clean up",
    "install",
    "load on Triton",
    "golden queries through Triton",
    "display rows",
    "popular items",
    "list",
)


def quiet(_: str) -> None:
    """A report that nobody reads."""


def build(settings: Settings, **changes: object) -> int:
    return int(build_release(settings.model_copy(update=changes), latest(settings.lines), quiet).name)


def remove(settings: Settings, number: int) -> None:
    """Back to release 1 alone, whatever a test left."""
    store = TrafficStore(settings)
    if store.require().carried != {1}:
        shift(settings, lambda before: promoted(before, 1), force=True)
        time.sleep(1.0)
    if store.require().served(number) is not None:
        retire(settings, number, quiet, grace_s=1.0)
    shutil.rmtree(settings.releases / str(number))


@pytest.fixture(scope="module")
def second(settings: Settings, stack: Platform) -> Iterator[int]:
    """Release 2: the same line, its catalogue built again."""
    number = build(settings)
    yield number
    remove(settings, number)


def answers(api: httpx.Client, users: range) -> list[dict[str, object]]:
    found = [api.post("/v1/recommend", json={"user_id": f"u{user:05d}", "num_items": 5}) for user in users]
    assert {answer.status_code for answer in found} == {200}
    return [answer.json() for answer in found]


def assert_the_champion_serves(settings: Settings, api: httpx.Client, before: int) -> None:
    traffic = TrafficStore(settings).require()
    assert traffic.sequence == before
    assert traffic.carried == {1}
    for answer in answers(api, range(150, 154)):
        assert (answer["degraded"], answer["model_version"]) == (None, "1")


def test_killed_at_every_step_the_champion_stands_and_the_next_run_succeeds(
    settings: Settings, api: httpx.Client, second: int
) -> None:
    before = TrafficStore(settings).require().sequence
    for step in STEPS:
        command = [sys.executable, "-m", "tests.e2e.killed_publisher", str(second), step]
        ended = subprocess.run(
            command, cwd=ROOT, env=child_environment(settings), check=False, capture_output=True, text=True
        )
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert ended.stdout.splitlines()[-1] == step
        assert_the_champion_serves(settings, api, before)
    stubs = loaded_pids(settings)
    figures = publish(settings, second, quiet)
    assert figures["golden_recall"] >= 0.9
    assert stubs <= loaded_pids(settings)  # nothing that was loaded was loaded again
    assert Server(settings.triton_url).ready("candidates", second)
    assert TrafficStore(settings).require().carried == {1}


def loaded_pids(settings: Settings) -> set[int]:
    """Processes of release 1's models."""
    found = subprocess.run(["pgrep", "-f", "triton_python_backend_stub"], capture_output=True, text=True, check=False)
    folder, pids = str(settings.runtime_repository), {int(pid) for pid in found.stdout.split()}
    of = {pid: Path(f"/proc/{pid}/cmdline") for pid in pids}
    return {
        pid
        for pid, line in of.items()
        if line.exists() and f"{folder}/" in line.read_text() and "/1/" in line.read_text()
    }


def test_two_publishers_do_not_meet(settings: Settings, stack: Platform, second: int) -> None:
    holder = threading.Event()
    script = (
        "import time; from deploy.settings import load_settings; from exporters.lock import publishing\n"
        "with publishing(load_settings()):\n print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=ROOT, env=child_environment(settings), stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(BusyError, match=f"pid {other.pid}"):
            publish(settings, second, quiet)
        threading.Timer(0.5, other.kill).start()  # the kernel gives a killed holder's lock back
        with publishing(settings, wait_s=10):
            holder.set()
    assert holder.is_set()


def test_canary_promote_and_roll_back_reach_the_answers(settings: Settings, api: httpx.Client, second: int) -> None:
    publish(settings, second, quiet)
    shift(settings, lambda before: canaried(before, second, 0.5))
    until_served(api, {"1", str(second)})
    arms = {a["user_id"]: (a["variant"], a["model_version"]) for a in answers(api, range(100, 140))}
    shift(settings, lambda before: canaried(before, second, 0.8))
    until(lambda: in_canary(answers(api, range(100, 140))) > in_canary_of(arms))
    grown = {a["user_id"]: a["variant"] for a in answers(api, range(100, 140))}
    assert all(grown[user] == "canary" for user, (variant, _) in arms.items() if variant == "canary")
    shift(settings, lambda before: promoted(before, second))
    until_served(api, {str(second)})
    with pytest.raises(TrafficError, match=f"release {second} carries traffic"):
        retire(settings, second, quiet)
    shift(settings, rolled_back)
    until_served(api, {"1"})


def in_canary(found: list[dict[str, object]]) -> int:
    return sum(answer["variant"] == "canary" for answer in found)


def in_canary_of(arms: dict[object, tuple[object, object]]) -> int:
    return sum(variant == "canary" for variant, _ in arms.values())


def until_served(api: httpx.Client, versions: set[str]) -> None:
    """Wait until just these releases answer, all of them in full."""
    until(lambda: {str(a["model_version"]) for a in answers(api, range(100, 140))} == versions)
    assert Counter(str(a["degraded"]) for a in answers(api, range(100, 140))) == {"None": 40}


def until(condition: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_retired_release_leaves_triton_and_cannot_be_rolled_back_to(
    settings: Settings, api: httpx.Client, second: int
) -> None:
    publish(settings, second, quiet)
    retire(settings, second, quiet, grace_s=0.5)
    server = Server(settings.triton_url)
    assert not server.ready(recommend_name(second), 1)
    assert not server.ready("candidates", second)
    assert server.ready("candidates", 1)
    assert ("candidates", second) not in set(installed(settings.runtime_repository))
    with pytest.raises(TrafficError, match=rf"release {second} is not published; published are \[1\]"):
        shift(settings, lambda before: rolled_back(before, second))
    assert_the_champion_serves(settings, api, TrafficStore(settings).require().sequence)


def test_a_release_that_triton_cannot_load_is_taken_out_again(settings: Settings, api: httpx.Client) -> None:
    number = build(settings)
    try:
        spoil(settings, number)
        before = TrafficStore(settings).require().sequence
        with pytest.raises(ServerError, match="Triton refused to load candidates"):
            publish(settings, number, quiet)
        assert ("candidates", number) not in set(installed(settings.runtime_repository))
        assert_the_champion_serves(settings, api, before)
    finally:
        remove(settings, number)


def spoil(settings: Settings, number: int) -> None:
    """Keys of one item too few, with a manifest that says it should be so: only the backend sees it."""
    folder = settings.releases / str(number)
    path = folder / "candidates" / "keys.npy"
    keys = np.load(path)
    path.unlink()
    np.save(path, keys[:-1])
    manifest = read(folder)
    slot = manifest.slots["candidates"].model_copy(update={"files": file_entries(folder / "candidates")})
    changed = manifest.model_copy(update={"slots": manifest.slots | {"candidates": slot}})
    (folder / FILE).write_text(changed.model_dump_json(indent=2))


def test_another_contract_serves_beside_the_old_one(settings: Settings, api: httpx.Client) -> None:
    """300 candidates instead of 500: other tensors, so other model names."""
    number = build(settings, candidates=300)
    try:
        before = loaded_pids(settings)
        publish(settings, number, quiet)
        assert before <= loaded_pids(settings)
        record = TrafficStore(settings).require().served(number)
        assert record is not None
        assert record.candidates[0].startswith("candidates_")
        assert record.user_tower == ("user_tower", 1)  # its contract is the same
        shift(settings, lambda before: canaried(before, number, 0.5))
        until_served(api, {"1", str(number)})
    finally:
        remove(settings, number)


def test_killed_triton_comes_back_with_what_carried_traffic(
    settings: Settings, stack: Platform, api: httpx.Client, second: int
) -> None:
    """Killed while a release is being loaded: nothing changed, and publishing again succeeds."""
    before = TrafficStore(settings).require().sequence

    def kill(step: str) -> None:
        if step == "load on Triton":
            os.kill(stack.triton.pid, signal.SIGKILL)

    with pytest.raises(ServerError):
        publish(settings, second, kill)
    groups.wait_gone(stack.triton.pid, 10)
    assert {a["model_version"] for a in answers(api, range(150, 153))} == {"1"}  # the lowest rung, no error
    stack.triton.stop()
    stack.triton.start()
    assert restore(settings).sequence == before + 1
    until(lambda: all(a["degraded"] is None for a in answers(api, range(150, 153))), 20)
    publish(settings, second, quiet)
    assert TrafficStore(settings).require().carried == {1}


def test_blue_green_moves_only_when_every_replica_has_the_release(
    settings: Settings, api: httpx.Client, second: int, tmp_path: Path
) -> None:
    """Two new servers that load what is staged and nothing else, beside the one that serves."""
    repository = tmp_path / "staged"
    stage(settings, second, repository)
    with pytest.raises(ExportError, match="is not empty"):
        stage(settings, second, repository)
    green = [isolated_settings(tmp_path / name, triton_control="none") for name in "ab"]
    servers = [TritonServer(each, repository=repository) for each in green]
    urls = [each.triton_url for each in green]
    none = settings.model_copy(update={"triton_control": "none"})
    before = TrafficStore(settings).require()
    with servers[0]:
        with pytest.raises(ServerError, match="no Triton at"):
            publish(none, second, quiet, urls)
        assert TrafficStore(settings).require() == before
        with servers[1]:
            publish(none, second, quiet, urls)
            shift(settings, lambda record: promoted(record, second))
            until_served(api, {str(second)})
            assert TrafficStore(settings).require().served(second).triton == tuple(urls)  # type: ignore[union-attr]
            shift(settings, rolled_back)
            until_served(api, {"1"})
