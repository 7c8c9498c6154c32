"""The last good day's raw and clean tables, kept as hard links while the next day's are looked at."""

import shutil
from pathlib import Path

from deploy.settings import Settings
from training.adapters.publish import link, publish

FOLDER = "kept"
NAMES = ("raw", "tables")


def keep(settings: Settings, day: Path) -> list[str]:
    """Link what is there now below the day's folder; returns the names."""
    draft, kept = day / f".{FOLDER}", day / FOLDER
    for left in (draft, kept):
        shutil.rmtree(left, ignore_errors=True)
    draft.mkdir()
    present = [name for name in NAMES if (settings.workspace / name).is_dir()]
    for name in present:
        link(settings.workspace / name, draft / name)
    draft.rename(kept)
    return present


def put_back(settings: Settings, day: Path) -> None:
    """Put the kept tables in the place of what was refused; what was not there before stays."""
    for name in NAMES:
        if (day / FOLDER / name).is_dir():
            with publish(settings.workspace / name) as fresh:
                fresh.rmdir()
                link(day / FOLDER / name, fresh)


def drop(day: Path) -> None:
    """Forget them: the new ones are good."""
    shutil.rmtree(day / FOLDER, ignore_errors=True)
