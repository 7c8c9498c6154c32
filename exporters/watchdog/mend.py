"""Bringing back what broke: one model version beside the others, or all of them on a server that started empty."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from deploy.settings import Settings
from exporters.errors import ServerError
from exporters.lock import publishing
from exporters.repository import install, load
from exporters.server import Server
from exporters.traffic import TrafficStore
from model_repository.traffic import ServedModel

STUB = b"triton_python_backend_stub"
PROCESSES = Path("/proc")


def reload_version(server: Server, repository: Path, served: ServedModel) -> None:
    """Load one version again; the others of its model keep their processes. Raises ServerError.

    Triton loads again whatever is newer than what it holds: a version folder that is touched, alone. What is left of
    the stub is ended first: one that stood still and went on after Triton had given up on it answers into memory that
    is no longer there, and Triton 2.51 aborts.
    """
    name, version = served
    folder = repository / name / str(version)
    for pid in stubs(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    try:
        os.utime(folder)
    except OSError as error:
        what = f"{folder} cannot be touched ({error.strerror})"
        raise ServerError(f"{what}; run the watchdog beside its Triton, as a user who may write there") from None
    server.load(name)
    server.wait(name, version)


def stubs(folder: Path) -> list[int]:
    """Python stubs of a version folder, those that this process may see."""
    named = os.fsencode(folder.resolve()) + b"/"
    return [int(one.name) for one in PROCESSES.iterdir() if one.name.isdigit() and _is_stub(one, named)]


def refill(settings: Settings, server: Server) -> list[int]:
    """Load what the traffic record lists on a server that has just started, whoever carries users first; the releases.

    Raises ExportError, BusyError among them: a publisher at work loads what it needs itself.
    """
    from exporters.publish import loadable  # golden queries' libraries: only where something has to be loaded

    with publishing(settings):
        traffic = TrafficStore(settings).read()
        manifests = loadable(settings, traffic) if traffic else {}
        for manifest in manifests.values():
            install(settings.runtime_repository, settings, manifest, ())
            load(server, manifest)
        return list(manifests)


def _is_stub(process: Path, named: bytes) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0].endswith(STUB) and len(words) > 1 and words[1].startswith(named)
