#!/usr/bin/env python3
"""Removes what was generated, unless a stack is running on it. Standard library only: `make clean`."""

import fcntl
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = (".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis")
SPARK = ("spark-warehouse", "metastore_db", "derby.log")


def main() -> None:
    """Data first, then caches."""
    home = Path(os.environ.get("TRIDENT_HOME", ROOT / "var"))
    for lock in home.glob("*/stack.lock"):
        _refuse_running(lock)
    for place in (home, *(ROOT / name for name in TOOLS + SPARK)):
        _remove(place)
    for cache in ROOT.glob("*/**/__pycache__"):
        if not cache.relative_to(ROOT).parts[0].startswith(".venv"):
            _remove(cache)


def _refuse_running(lock: Path) -> None:
    with lock.open() as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = held.read().strip() or "unknown"
            sys.exit(f"clean: workspace {lock.parent} is in use (pid {owner}); stop it first")


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
