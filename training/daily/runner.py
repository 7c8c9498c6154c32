"""Commands of the daily run as child processes, and what stands in for them in tests."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import orjson

from deploy.settings import ROOT, Settings, child_environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A command that ended: its exit code, the JSON document of its last line, the last line of its log."""

    code: int
    result: Mapping[str, Any] = field(default_factory=dict)
    said: str = ""


class Runner(Protocol):
    """Runs `python -m <command>` to its end."""

    def __call__(self, command: Sequence[str], log: Path) -> Done:
        """Run it; what it says to a person goes to `log`."""


@dataclass(frozen=True, slots=True)
class Children:
    """Real ones, with equal settings; they hold the run's lock."""

    settings: Settings
    lock: int

    def __call__(self, command: Sequence[str], log: Path) -> Done:
        """Run it; the standard output is what `--json` promises."""
        with log.open("wb") as errors:
            done = subprocess.run(
                [sys.executable, "-m", *command], cwd=ROOT, env=child_environment(self.settings), check=False,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, pass_fds=(self.lock,),
            )  # fmt: skip
        lines = log.read_text(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return Done(code=done.returncode, result=_document(done.stdout), said=said[:1000])


@dataclass
class FakeRunner:
    """Answers by the command's words, `training ingest`: with what it is given, or with success and nothing to say.

    `asked` are the commands in order. An answer may act first, or raise, as a kill would.
    """

    answers: dict[str, Callable[[Sequence[str]], Done]] = field(default_factory=dict)
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, command: Sequence[str], log: Path) -> Done:
        """Answer."""
        self.asked.append(tuple(command))
        log.write_text(" ".join(command) + "\n")
        words = " ".join(word for word in command[:3] if not word.startswith("-") and not word.isdigit())
        return self.answers[words](command) if words in self.answers else Done(code=0)


def _document(output: bytes) -> dict[str, Any]:
    lines = output.strip().splitlines()
    try:
        document = orjson.loads(lines[-1]) if lines else {}
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
