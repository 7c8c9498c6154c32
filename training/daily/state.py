"""What a daily run has done so far, `daily/<day>/state.json`, and the lock that keeps two runs apart."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from training.daily.errors import StepError
from training.errors import DataError
from training.lock import HeldError, held

FILE, LOCK = "state.json", "daily.lock"
Outcome = Literal["running", "released", "bad day", "refused", "stable"]


class Ended(BaseModel):
    """A step that ended well."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float
    at: datetime
    result: dict[str, Any] = {}


class State(BaseModel):
    """The whole document. `released`: a release came of it; `bad day`, `refused` and `stable` say why none did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    day: str
    outcome: Outcome = "running"
    reason: str = ""
    steps: dict[str, Ended] = {}


@dataclass
class Journal:
    """The state of one day on disk; every change is written before the next step starts."""

    folder: Path
    state: State

    @classmethod
    def open(cls, folder: Path) -> "Journal":
        """The day's state, a new one where there is none. Raises DataError when it cannot be read."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        if not path.is_file():
            return cls(folder, State(day=folder.name))
        try:
            return cls(folder, State.model_validate_json(path.read_bytes()))
        except ValidationError as error:
            raise DataError(f"{path}: {error.errors()[0]['msg']}; remove the file to start the day again") from None

    def ended(self, step: str, seconds: float, result: dict[str, Any]) -> None:
        """A step ended well."""
        steps = self.state.steps | {step: Ended(seconds=round(seconds, 1), at=datetime.now(UTC), result=result)}
        self._write(self.state.model_copy(update={"steps": steps}))

    def close(self, outcome: Outcome, reason: str = "") -> None:
        """How the day ended, for now."""
        self._write(self.state.model_copy(update={"outcome": outcome, "reason": reason}))

    def reopen(self) -> None:
        """Before another try: a day that was refused for its data, or saw no drift, starts from the beginning."""
        again = self.state.outcome in ("bad day", "stable")
        self._write(State(day=self.state.day, steps={} if again else self.state.steps))

    def result(self, step: str) -> dict[str, Any] | None:
        """What a step said; None when it has not ended."""
        ended = self.state.steps.get(step)
        return ended.result if ended else None

    def _write(self, state: State) -> None:
        draft = self.folder / f".{FILE}.draft"
        with draft.open("w") as file:
            file.write(state.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self.folder / FILE)
        self.state = state


@contextmanager
def running(folder: Path) -> Iterator[int]:
    """Hold the workspace's daily runs; yields the lock's descriptor, which children inherit: a child that outlives a
    killed run keeps the next one out. Raises StepError when another run is at work.
    """
    with ExitStack() as lock:
        try:
            descriptor = lock.enter_context(held(folder / LOCK))
        except HeldError as error:
            raise StepError(f"another daily run is at work in {folder} (pid {error.owner}); wait for it") from None
        yield descriptor
