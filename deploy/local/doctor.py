"""What this machine has, lacks or has wrong, each with its fix."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.table import Table

from deploy.local import environments, layout, packages
from deploy.local.layout import APPLICATION, TRITON, Environment
from deploy.local.processes import groups
from deploy.local.processes.ports import describe_owner
from deploy.local.runtime import ApiServer, RedisServer, TritonServer
from deploy.local.runtime.triton_server import launch_problem, triton_variables
from deploy.settings import Settings

State = Literal["ok", "note", "missing"]
GIB = 1 << 30
MEMORY_MIN, DISK_MIN = 6 * GIB, 5 * GIB
_COLOURS = {"ok": "green", "note": "yellow", "missing": "red"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing looked at. `missing` keeps the platform from running, `note` does not."""

    what: str
    state: State
    detail: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        """Plain fields."""
        return {"what": self.what, "state": self.state, "detail": self.detail, "fix": self.fix}


def diagnose(settings: Settings) -> list[Finding]:
    """Every check, in the order in which set-up would need them."""
    gpu = packages.has_gpu()
    findings = [_python(), *_distribution(), *(_environment(env, gpu) for env in (APPLICATION, TRITON))]
    findings += [_java_module(), _triton_runs(), _stub(), _gpu(gpu), _memory(), _disk(settings)]
    return [*findings, *_ports(settings), _segments()]


def report_table(findings: list[Finding]) -> Table:
    """For people."""
    table = Table(title="what is there", title_justify="left")
    for column in ("", "what", "found", "fix"):
        table.add_column(column, overflow="fold")
    for f in findings:
        table.add_row(f"[{_COLOURS[f.state]}]{f.state}[/]", f.what, f.detail, f.fix)
    return table


def _python() -> Finding:
    version = sys.version.split()[0]
    fits = layout.PYTHON_MIN <= sys.version_info[:2] < layout.PYTHON_BELOW
    fix = "" if fits else "use Python 3.11 to 3.13"
    return Finding(what="Python", state="ok" if fits else "missing", detail=version, fix=fix)


def _distribution() -> Iterator[Finding]:
    for need in packages.NEEDS:
        present = need.present()
        state: State = "ok" if present else "missing" if need.required else "note"
        fix = "" if present else f"apt-get install {need.packages[0]}"
        yield Finding(what=need.what, state=state, detail="found" if present else "not found", fix=fix)


def _environment(environment: Environment, gpu: bool) -> Finding:
    current = environments.current_stamp(environment)
    if current is None:
        return _absent(environment.name, "absent or unfinished")
    if current != environments.expected_stamp(environment, gpu):
        return Finding(what=environment.name, state="note", detail="older than its lock file", fix="make setup")
    return Finding(what=environment.name, state="ok", detail=f"Python {environment.minor()}, current")


def _absent(what: str, detail: str) -> Finding:
    return Finding(what=what, state="missing", detail=detail, fix="make setup")


def _java_module() -> Finding:
    """Spark 4 needs `jdk.incubator.vector`, which cut-down JREs lack."""
    listing = _output([packages.java_program(), "--list-modules"])
    version = packages.java_version()
    whole = "jdk.incubator.vector" in listing
    return Finding(
        what="Java for Spark", state="ok" if whole else "missing",
        detail=f"version {version}, " + ("with" if whole else "without") + " jdk.incubator.vector",
        fix="" if whole else "apt-get install openjdk-17-jre-headless",
    )  # fmt: skip


def _triton_runs() -> Finding:
    if problem := launch_problem():
        return _absent("tritonserver", problem)
    listing = _output([str(layout.triton_binary()), "--help"], triton_variables())
    runs = "Usage: tritonserver" in listing
    return Finding(
        what="tritonserver", state="ok" if runs else "missing",
        detail=f"{layout.PYTRITON} starts" if runs else listing.strip()[-200:] or "does not start",
        fix="" if runs else "rm -r .venv-triton && make setup",
    )  # fmt: skip


def _stub() -> Finding:
    """The stub's libraries resolve; ldd names the ones that don't."""
    try:
        listing = _output(["ldd", str(layout.stub())], triton_variables())
    except layout.SetupError as error:
        return _absent("python-backend stub", str(error))
    lost = [line.split()[0] for line in listing.splitlines() if "not found" in line]
    if lost or not listing:
        return _absent("python-backend stub", ", ".join(lost) or "not in place")
    return Finding(what="python-backend stub", state="ok", detail="libraries resolve")


def _gpu(gpu: bool) -> Finding:
    detail = "found" if gpu else "none: CPU profile"
    return Finding(what="NVIDIA GPU", state="ok" if gpu else "note", detail=detail)


def _memory() -> Finding:
    pairs = (line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = {name: int(value.split()[0]) * 1024 for name, value in pairs}["MemAvailable"]
    return _at_least("memory available", available, MEMORY_MIN, "TRIDENT_SPARK_MEMORY=2g and SIZE=tiny need less")


def _disk(settings: Settings) -> Finding:
    place = next(p for p in (settings.home, *settings.home.parents) if p.exists())
    return _at_least("disk free", shutil.disk_usage(place).free, DISK_MIN, "free some, or set TRIDENT_HOME")


def _at_least(what: str, have: int, need: int, fix: str) -> Finding:
    enough = have >= need
    detail = f"{have / GIB:.1f} GiB" + ("" if enough else f", {need / GIB:.0f} wanted")
    return Finding(what=what, state="ok" if enough else "note", detail=detail, fix="" if enough else fix)


def _ports(settings: Settings) -> Iterator[Finding]:
    for server in (RedisServer(settings), TritonServer(settings), ApiServer(settings)):
        for port in server.ports:
            owner = describe_owner(port.number)
            what = f"port {port.number} ({port.purpose})"
            if owner:
                fix = f"stop it, or set {port.variable}"
                yield Finding(what=what, state="note", detail=f"in use by {owner}", fix=fix)
            else:
                yield Finding(what=what, state="ok", detail="free")


def _segments() -> Finding:
    left = groups.segments("trident-")
    size = sum(path.stat().st_size for path in left) / GIB
    detail = f"{len(left)} segments, {size:.2f} GiB" if left else "none of ours"
    fix = "belongs to a running Triton, or: rm /dev/shm/trident-*" if left else ""
    return Finding(what="shared memory", state="note" if left else "ok", detail=detail, fix=fix)


def _output(command: list[str], variables: dict[str, str] | None = None) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=variables)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout + result.stderr
