"""Programs and libraries of the distribution that no wheel brings: Redis, a JRE, libpython, a few small ones."""

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.layout import SetupError, libpython_folder

JAVA_MIN = 17
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# temporary: trident set-up starts no services\nexit 101\n"
MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """Something that must be on the machine; the first of `packages` that apt knows provides it."""

    what: str
    packages: tuple[str, ...]
    present: Callable[[], bool]
    required: bool = True


def java_version() -> int | None:
    """Major version of the Java that Spark would start; None without one that runs."""
    try:
        result = subprocess.run([java_program(), "-version"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', result.stderr)
    return int(found[1]) if found else None


def java_program() -> str:
    """Java as Spark finds it: JAVA_HOME first, then PATH."""
    home = os.environ.get("JAVA_HOME")
    return str(Path(home) / "bin" / "java") if home else "java"


def has_library(name: str) -> bool:
    """Whether the dynamic loader finds `name`."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def has_gpu() -> bool:
    """Whether an NVIDIA GPU answers."""
    try:
        result = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0 and "GPU 0" in result.stdout


def _has_java() -> bool:
    return (java_version() or 0) >= JAVA_MIN


NEEDS = (
    Need(
        what=f"the venv module of Python {MINOR}",
        packages=(f"python{MINOR}-venv", "python3-venv"),
        present=lambda: importlib.util.find_spec("ensurepip") is not None,
    ),
    Need(
        what=f"libpython{MINOR}.so.1.0",
        packages=(f"libpython{MINOR}", f"libpython{MINOR}t64"),
        present=lambda: libpython_folder() is not None,
    ),
    Need(what="redis-server", packages=("redis-server",), present=lambda: shutil.which("redis-server") is not None),
    Need(
        what=f"Java {JAVA_MIN} or newer",
        packages=("openjdk-17-jre-headless", "openjdk-21-jre-headless", "default-jre-headless"),
        present=_has_java,
    ),
    Need(what="libgomp.so.1", packages=("libgomp1",), present=lambda: has_library("libgomp.so.1")),
    Need(
        what="libb64.so.0d (perf_analyzer)",
        packages=("libb64-0d",),
        present=lambda: has_library("libb64.so.0d"),
        required=False,
    ),
)


def missing() -> list[Need]:
    """What this machine lacks."""
    return [need for need in NEEDS if not need.present()]


def ensure_packages(say: Callable[[str], None], *, install: bool) -> None:
    """Install what is missing, or raise `SetupError` naming the packages and the command."""
    absent = missing()
    prefix = _privilege() if install else None
    if not absent:
        return
    if prefix is None:
        _refuse_or_skip(absent, say)
        return
    say("apt-get install: " + ", ".join(need.what for need in absent))
    if failure := _apt(prefix, ["update"]):
        say(f"apt-get update: {failure}; going on with the lists that are there")
    _install(prefix, absent, say)


def _install(prefix: list[str], absent: list[Need], say: Callable[[str], None]) -> None:
    chosen = [(need, _candidate(need)) for need in absent]
    names = [name for _, name in chosen if name]
    with _no_services(prefix, names):
        failure = _apt(prefix, ["install", "--yes", "--no-install-recommends", *names]) if names else None
    still = missing()
    if any(need.required for need in still):
        raise SetupError(_advice(still) + (f" (apt-get: {failure})" if failure else ""))
    for need in still:
        say(f"{need.what} is not available here; only what needs it is affected")


def _refuse_or_skip(absent: list[Need], say: Callable[[str], None]) -> None:
    if any(need.required for need in absent):
        raise SetupError(_advice(absent))
    say("optional: " + _advice(absent))


def _advice(needs: list[Need]) -> str:
    what = ", ".join(need.what for need in needs)
    names = " ".join(_candidate(need) or need.packages[0] for need in needs)
    return f"missing: {what}; install with: sudo apt-get update && sudo apt-get install -y {names}"


def _candidate(need: Need) -> str | None:
    """The first package that apt could install now."""
    for name in need.packages:
        try:
            command = ["apt-cache", "policy", name]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return None
        found = re.search(r"Candidate: (\S+)", result.stdout)
        if found and found[1] != "(none)":
            return name
    return None


def _privilege() -> list[str] | None:
    """The prefix that lets apt-get work: none as root, `sudo -n` where it asks nothing, None otherwise."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    probe = subprocess.run(["sudo", "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return ["sudo", "-n"] if probe.returncode == 0 else None


def _apt(prefix: list[str], arguments: list[str]) -> str | None:
    """Run apt-get without questions; the last error line when it fails."""
    settings = ["env", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=a"]
    command = [*prefix, *settings, "apt-get", "-o", "DPkg::Lock::Timeout=120", "--quiet", *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return None
    lines = [line for line in (result.stderr + result.stdout).splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("E:")), lines[-1] if lines else "failed")


@contextmanager
def _no_services(prefix: list[str], names: list[str]) -> Iterator[None]:
    """Install without starting daemons: redis-server's package would start one, now and at every boot."""
    ours = not POLICY.exists() or "trident set-up" in POLICY.read_text(errors="replace")
    if ours:
        write = [*prefix, "tee", str(POLICY)]
        subprocess.run(write, input=POLICY_TEXT, text=True, check=True, capture_output=True)
        subprocess.run([*prefix, "chmod", "755", str(POLICY)], check=True)
    try:
        yield
    finally:
        if ours:
            subprocess.run([*prefix, "rm", "-f", str(POLICY)], check=False)
        if "redis-server" in names and Path("/run/systemd/system").is_dir():
            disable = [*prefix, "systemctl", "disable", "--now", "redis-server"]
            subprocess.run(disable, check=False, capture_output=True)
