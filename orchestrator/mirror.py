"""Small documents kept in a local file as well, so that they outlive a Redis outage and a restart during it."""

import os
from contextlib import suppress
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


def save(path: Path, content: bytes) -> None:
    """Replace the file in one step; a full disk costs the mirror, not the request path."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        log.warning("mirror_not_written", file=path.name, error=str(error))
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def load(path: Path) -> bytes | None:
    """The file's content, or None."""
    try:
        return path.read_bytes()
    except OSError:
        return None
