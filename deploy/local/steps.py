"""The pipeline's commands as child processes, each stamped when complete so that an interrupted run goes on."""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deploy.local.errors import StepError
from deploy.local.processes.spawn import exit_code, finish, spawn
from deploy.local.runtime.logs import last_line
from deploy.settings import ROOT, Settings, child_environment
from feature_repo.schema import SCHEMA


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One command, `python -m <module> <verb>`; the schema decides the outcome of all but the first."""

    module: str
    verb: str
    saying: str
    needs_schema: bool = True

    @property
    def name(self) -> str:
        """Its name in steps.json and of its log."""
        return self.verb


INGEST = Step(module="training", verb="ingest", saying="reading the source", needs_schema=False)
PIPELINE = Step(module="training", verb="pipeline", saying="validating, computing point-in-time features")
MATERIALIZE = Step(module="training", verb="materialize", saying="writing user features to Redis")
TRAIN = Step(module="training", verb="train", saying="training and judging towers and ranker")
PUBLISH = Step(module="exporters", verb="publish", saying="exporting and publishing into Triton")
RESTORE = Step(module="exporters", verb="restore", saying="loading the published release into Triton")
RECORD = "traffic record 2"  # a workspace whose record has another form publishes again
LEARNING = (INGEST, PIPELINE, MATERIALIZE, TRAIN)


class Steps:
    """Runs steps of one workspace. `check` is called while a step runs and may raise to end it."""

    def __init__(self, settings: Settings, console: Console, check: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._console = console
        self._check = check
        self._file = settings.workspace / "steps.json"

    def run_missing(self, steps: Sequence[Step], stale: Callable[[Step], bool] = lambda _: False) -> list[str]:
        """Run what is not stamped; once one of them ran, everything after it runs again. Returns what ran."""
        ran: list[str] = []
        for step in steps:
            if ran or self._stamps().get(step.name, {}).get("key") != self._key(step):
                self.run(step)
                ran.append(step.name)
            elif stale(step):
                self.run(step)
        return ran

    def forget(self, *steps: Step) -> None:
        """Drop stamps, so that the steps run again."""
        names = {step.name for step in steps}
        self._write({name: stamp for name, stamp in self._stamps().items() if name not in names})

    def run(self, step: Step) -> None:
        """Run one step to its end and stamp it. Raises `StepError` with the reason from its log."""
        started = time.monotonic()
        with self._spinner(step.saying):
            self._execute(step)
        seconds = time.monotonic() - started
        self._console.print(f"[green]✓[/] {step.saying} [dim]{seconds:.1f} s[/]")
        self._write(self._stamps() | {step.name: {"key": self._key(step), "seconds": round(seconds, 1)}})

    def _execute(self, step: Step) -> None:
        log = self._settings.logs / f"{step.name}.log"
        command = [sys.executable, "-m", step.module, step.verb]
        child = spawn(command, log=log, folder=ROOT, variables=child_environment(self._settings))
        try:
            while exit_code(child) is None:
                self._check()
                time.sleep(0.1)
        finally:
            finish(child, grace=10.0)
        if child.returncode:
            how = "was killed (out of memory?)" if child.returncode < 0 else "failed"
            raise StepError(f"`python -m {step.module} {step.verb}` {how}: {last_line(log)} [{log}]")

    def _spinner(self, saying: str) -> AbstractContextManager[object]:
        if self._console.is_terminal:
            return self._console.status(f"{saying} …")
        self._console.print(f"· {saying}")
        return nullcontext()

    def _key(self, step: Step) -> str:
        """What the step's outcome depends on besides the steps before it."""
        s = self._settings
        facts = [s.source, s.data or "", str(s.seed), s.size]
        facts += [SCHEMA.hash] if step.needs_schema else []
        facts += [s.index, str(s.index_memory_gib), str(s.candidates), s.profile, RECORD] if step == PUBLISH else []
        facts += _files(s.data_folder) if step == INGEST and s.data_folder else []
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]

    def _stamps(self) -> dict[str, dict[str, object]]:
        try:
            return dict(json.loads(self._file.read_text()))
        except (OSError, ValueError):
            return {}

    def _write(self, stamps: dict[str, dict[str, object]]) -> None:
        temporary = Path(f"{self._file}.new")
        temporary.write_text(json.dumps(stamps, indent=2) + "\n")
        temporary.replace(self._file)


def _files(folder: Path) -> list[str]:
    """The source's files with size and time of change: an edited file is read again."""
    found = ((path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file())
    return [f"{path.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns}" for path, stat in found]
