"""The orchestrator itself is terminated or killed, and the disk that its log lies on is full."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path

from deploy.local.processes.ports import free_port
from deploy.local.readiness import http_status
from deploy.local.runtime import ApiServer
from deploy.local.runtime.api_server import READY_PATH
from perf.drill.bench import Bench
from perf.drill.front import Front, read_answer
from perf.drill.overload import asked
from perf.drill.report import Drill, Report

IN_FLIGHT = 40
GRACE_S = 8.0
DRAIN_S, NOT_READY_S = 3.0, 1.0
DISK, MORE_THAN_DISK = "64k", 1 << 17
RECOVERED_S = 10.0
LAST = 2  # answers whose impressions were not yet written
ALWAYS_FULL = Path("/dev/full")


def log_disk_full(bench: Bench, report: Report) -> None:
    """Redis is away and the disk that the log then goes to is full, under load: serving is unaffected, drops are
    counted, and it goes on after."""
    front, proxy = bench.behind_proxy()
    before = front.metric("log_dropped_total", reason="disk")
    with front.load(bench.users(150)) as load:
        time.sleep(1.0)
        with _small_disk(bench.spill) as kind:
            proxy.refuse()
            time.sleep(4.0)
            report.figures["disk"] = kind
            proxy.allow()
            time.sleep(1.5)
    load.judge(report)
    report.least("dropped", front.metric("log_dropped_total", reason="disk") - before, 1.0)
    bench.recover()
    answer = front.ask(bench.users(1)[0])
    report.expect(bench.log_line(answer["request_id"]) is not None, "nothing is logged after the disk has room again")


def log_spilled(bench: Bench, report: Report) -> None:
    """Redis is away under load, with room on the disk: what was shown meanwhile is in the log once Redis is back."""
    front, proxy = bench.behind_proxy()
    before = front.metric("log_spilled_total")
    proxy.refuse()
    answers = [front.ask(user)["request_id"] for user in bench.users(50)]
    time.sleep(0.5)
    report.least("spilled", front.metric("log_spilled_total") - before, len(answers))  # who has Redis may bring it back
    proxy.allow()
    report.least("logged", len(bench.log_lines(set(answers), RECOVERED_S)), len(answers))


def api_terminated(bench: Bench, report: Report) -> None:
    """SIGTERM with forty requests in flight: all are answered and logged, then the process ends by itself."""
    users, names = bench.users(IN_FLIGHT), {f"terminated-{number}" for number in range(IN_FLIGHT)}
    with bench.hung("ranker"):  # they take a while
        wires = [asked(bench.front, user, name) for user, name in zip(users, sorted(names), strict=True)]
        time.sleep(0.02)
        began = time.monotonic()
        os.kill(bench.front.api.pid, signal.SIGTERM)
        statuses = [read_answer(wire)[0] for wire in wires]
    _ended(bench.front.api, began, GRACE_S, report)
    report.least("answered", statuses.count(HTTPStatus.OK), IN_FLIGHT)
    report.least("logged", len(bench.log_lines(names)), IN_FLIGHT)
    _start_again(bench)


def api_drained(bench: Bench, report: Report) -> None:
    """SIGTERM under load with a balancer in front (it looks for readiness): not ready at once, every request answered,
    then the process ends by itself."""
    changes = {"api_port": free_port(bench.settings.host), "drain_s": DRAIN_S}
    api = ApiServer(bench.settings.model_copy(update=changes))
    api.name = "api-drained"
    with api:
        front = Front(api)
        with front.load(bench.users(100)) as load:
            time.sleep(1.0)
            sent = time.monotonic()
            os.kill(api.pid, signal.SIGTERM)
            while http_status(*front.address, READY_PATH) == HTTPStatus.OK:
                time.sleep(0.01)
            report.most("not_ready_after_s", time.monotonic() - sent, NOT_READY_S)
        _ended(api, sent, DRAIN_S + GRACE_S, report)
    load.judge(report)


def api_killed(bench: Bench, report: Report) -> None:
    """SIGKILL of the orchestrator while it writes its log: what was answered a beat before is there, the next process
    goes on."""
    answers = [bench.front.ask(user, num_items=100)["request_id"] for user in bench.users(100)]
    os.kill(bench.front.api.pid, signal.SIGKILL)
    report.figures["start_s"] = round(_start_again(bench), 1)
    report.least("logged", len(bench.log_lines(set(answers))), len(answers) - LAST)
    answer = bench.front.ask(bench.users(1)[0])
    report.expect(bench.log_line(answer["request_id"]) is not None, "the new process does not log")


def torn_line(bench: Bench, report: Report) -> None:
    """A process that died left a spilled entry and half of another: the one is brought back, the other counted."""
    other, _ = bench.behind_proxy()  # whichever comes first brings it back
    before = other.metric("log_dropped_total", reason="torn")
    bench.front.api.stop()
    bench.spill.write_bytes(b'{"event":"impressions","request_id":"whole"}\n{"event":"impressions","request_id":"half')
    bench.front.api.start()
    report.expect(bench.log_line("whole", RECOVERED_S) is not None, "the whole entry is lost")
    time.sleep(0.5)  # counted once it is safe
    torn = sum(front.metric("log_dropped_total", reason="torn") for front in (bench.front, other)) - before
    report.least("torn", torn, 1.0)
    report.expect(not bench.spill.exists(), "the file stays")


DRILLS = (
    Drill(name="log-disk-full", fault=32, work=log_disk_full),
    Drill(name="log-spilled", fault=32, work=log_spilled),
    Drill(name="log-torn", fault=32, work=torn_line),
    Drill(name="api-killed", fault=32, work=api_killed),
    Drill(name="api-terminated", fault=33, work=api_terminated),
    Drill(name="api-drained", fault=33, work=api_drained),
)


def _ended(api: ApiServer, since: float, limit_s: float, report: Report) -> None:
    """Wait until it has ended by itself."""
    while api.alive() and time.monotonic() < since + 2 * limit_s:
        time.sleep(0.02)
    report.most("exit_s", time.monotonic() - since, limit_s)


def _restart(bench: Bench) -> None:
    bench.front.api.stop()
    bench.front.api.start()


def _start_again(bench: Bench) -> float:
    began = time.monotonic()
    _restart(bench)
    return time.monotonic() - began


@contextmanager
def _small_disk(file: Path) -> Iterator[str]:
    """The file lies on a full tmpfs of 64 KiB inside the block; without the right to mount it is /dev/full."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder]
        mounted = subprocess.run(options, capture_output=True, check=False).returncode == 0
        if mounted:
            with suppress(OSError):
                (Path(folder) / "filler").write_bytes(bytes(MORE_THAN_DISK))
        file.unlink(missing_ok=True)
        file.symlink_to(Path(folder) / file.name if mounted else ALWAYS_FULL)
        try:
            yield f"tmpfs of {DISK}" if mounted else str(ALWAYS_FULL)
        finally:
            file.unlink(missing_ok=True)
            if mounted:
                subprocess.run(["umount", "-l", folder], check=True)
