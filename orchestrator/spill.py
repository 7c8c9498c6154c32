"""Where log lines wait while Redis takes none: a bounded file of JSON lines, brought back oldest first.

Bringing back claims the file under another name, so that what is spilled meanwhile, or by another process, goes into
a new one. A process that dies half-way leaves the claimed file to the next: lines may come twice, none is lost.
Blocking; one call at a time.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import orjson

CLAIMED = ".replayed"


class FullError(OSError):
    """The files hold as much as they may."""


class Spill:
    """`append` lines without their newlines; `peek` at the oldest and, once they are safe, `forget` them."""

    def __init__(self, file: Path, most_bytes: int) -> None:
        self._file = file
        self._claimed = file.with_name(file.name + CLAIMED)
        self._most_bytes = most_bytes
        self._begin = self._end = 0  # of what was looked at, in the claimed file

    @property
    def waiting(self) -> bool:
        """Whether there is something to bring back."""
        return _size(self._file) > 0 or self._claimed.exists()

    def append(self, lines: Sequence[bytes]) -> None:
        """Raises OSError, FullError included; none of the lines is there then."""
        content = b"".join([line + b"\n" for line in lines])
        if _size(self._file) + _size(self._claimed) + len(content) > self._most_bytes:
            raise FullError(f"{self._file}: more than {self._most_bytes} bytes")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as stream:
            before = stream.tell()
            try:
                stream.write((b"\n" if before and not _ends(self._file) else b"") + content)
                stream.flush()
            except OSError:
                with suppress(OSError):
                    os.truncate(self._file, before)
                raise

    def peek(self, most: int) -> tuple[list[bytes], int]:
        """The next lines, and how many between them were torn. Raises OSError."""
        if not self._claimed.exists() and not self._claim():
            return [], 0
        lines: list[bytes] = []
        torn = 0
        with self._claimed.open("rb") as stream:
            self._end = stream.seek(self._begin)
            while len(lines) < most and (line := stream.readline()):
                self._end += len(line)
                if _whole(line):
                    lines.append(line[:-1])
                elif line.strip():
                    torn += 1
        return lines, torn

    def forget(self) -> None:
        """What was looked at is safe elsewhere. Raises OSError."""
        self._begin = self._end
        if self._begin >= _size(self._claimed):
            self._claimed.unlink(missing_ok=True)
            self._begin = self._end = 0

    def _claim(self) -> bool:
        """Whether the file is ours now; of two processes only one can make the link."""
        self._begin = 0
        with suppress(FileNotFoundError, FileExistsError):
            os.link(self._file, self._claimed)
            self._file.unlink()
            return True
        return self._claimed.exists()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _ends(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def _whole(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False
