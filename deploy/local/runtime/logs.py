"""Why a server died, from its own log."""

import re
from itertools import takewhile
from pathlib import Path

_STRONG = re.compile(r"^E\d{4} |^error\b|^[\w.]*(Error|Exception)\b|unrecognized option|FATAL|^>>>", re.I)
_WEAK = re.compile(r"\b(error|failed|cannot|could not|unable|can't|invalid|in use)\b", re.I)
_NOISE = re.compile(r"NVML|DCGM|CudaDriverHelper|pinned|CUDA memory pool|^\s*(\^|File )|^Traceback")
_TAIL_BYTES = 64_000


def reason(log: Path, lines: int = 2) -> str:
    """The last meaningful error lines (or just the last lines) of the log, joined into one."""
    told = takewhile(lambda line: not line.startswith("Usage:"), _tail(log))
    text = [line.strip() for line in told if line.strip() and not _NOISE.search(line)]
    strong = [line for line in text if _STRONG.search(line)]
    errors = strong or [line for line in text if _WEAK.search(line)] or text
    return " | ".join(dict.fromkeys(line[:300] for line in errors[-lines:])) or "its log is empty"


def last_line(log: Path) -> str:
    """What a command of ours says last: its one-line error, or the exception of a traceback."""
    text = [line.strip() for line in _tail(log) if line.strip()]
    return text[-1][:500] if text else "its log is empty"


def _tail(log: Path) -> list[str]:
    try:
        return log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").splitlines()
    except OSError:
        return []
