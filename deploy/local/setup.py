#!/usr/bin/env python3
"""Everything that `make serve` and `make test` need, made from nothing: `python3 deploy/local/setup.py`.

Standard library only. Run again it takes a fraction of a second; an interrupted run goes on where it stopped.
"""

import os
import sys

# ruff: noqa: E402 - the version is checked before anything that an older Python can't import
if not (3, 11) <= sys.version_info[:2] < (3, 14):
    found = sys.version.split()[0] + " (" + sys.executable + ")"
    sys.exit("setup: needs Python 3.11, 3.12 or 3.13, found " + found + "; name one: make PYTHON=python3.12")

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])
from deploy.local import environments, layout, packages


def say(line: str) -> None:
    """Progress is for people; it goes to stderr so that a command's last stdout line stays its own."""
    print(f"setup: {line}", file=sys.stderr, flush=True)


def main() -> None:
    """Distribution packages, then the application environment, then Triton's."""
    started = time.monotonic()
    with _one_at_a_time():
        install = os.environ.get("TRIDENT_SYSTEM_PACKAGES", "install") == "install"
        packages.ensure_packages(say, install=install)
        gpu = packages.has_gpu()
        changed = [environments.build(env, gpu, say) for env in (layout.APPLICATION, layout.TRITON)]
    if any(changed):
        say(f"ready in {time.monotonic() - started:.0f} s")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """A second set-up waits for the first and then finds nothing to do."""
    with (layout.ROOT / "deploy/local/setup.py").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        main()
    except layout.SetupError as error:
        sys.exit(f"setup: {error}")
    except KeyboardInterrupt:
        sys.exit("setup: interrupted; run it again to go on")
