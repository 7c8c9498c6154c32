"""Files and folders that appear whole, and are still there after a crash."""

import os
import shutil
import threading
from pathlib import Path


def replace_file(path: Path, content: str) -> None:
    """Write a file whole: readers see the old content or the new, never a part; writers do not meet in a draft."""
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.draft")
    draft.write_text(content)
    draft.rename(path)


def sync_tree(folder: Path, below: bool = True) -> None:
    """fsync every file below the folder, then the folder: after the rename a crash loses nothing."""
    for path in [*(folder.rglob("*") if below else ()), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """The same file under another name where the file system can, else a copy of it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
