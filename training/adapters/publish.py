"""Writing a folder so that it is never half written; what a kill leaves between two renames is put back."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def publish(folder: Path) -> Iterator[Path]:
    """Yields an empty folder that takes the place of `folder` when the block ends, and vanishes when it raises."""
    partial, previous = (folder.with_name(folder.name + suffix) for suffix in (".partial", ".previous"))
    restore(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    partial.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)


def restore(folder: Path) -> None:
    """Put back what a kill between the two renames left aside."""
    previous = folder.with_name(folder.name + ".previous")
    if previous.exists() and not folder.exists():
        previous.rename(folder)


def link(source: Path, target: Path) -> None:
    """Put a folder of finished files at `target` without copying them where the file system has hard links."""
    shutil.copytree(source, target, copy_function=link_file)


def link_file(source: str | Path, target: str | Path) -> None:
    """The same for one file."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
