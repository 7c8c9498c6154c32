"""What both arms answered since the shares last changed, summed over all orchestrators.

Heartbeats carry tallies since each process started, so each counts from its first sight after the arms changed: one
whose heartbeat was away at that moment (Redis restarted) must not bring up its past. Kept on disk, so a guard that
restarts forgets nothing. An orchestrator that vanished keeps what it had counted, a tally that shrank (its release was
gone in between) starts over.
"""

import fcntl
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from exporters.files import replace_file
from model_repository.traffic import Heartbeat, Tally, Traffic

FILE = "guard.json"
LOCK = "guard.lock"
Tallies = dict[str, dict[int, Tally]]


class State(BaseModel):
    """`arms` names the shares the window is of, `sequence` the record last looked at; `since` is its start, unix
    seconds."""

    model_config = ConfigDict(frozen=True)

    arms: str
    sequence: int
    since: float
    baseline: Tallies
    seen: Tallies


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Tallies by release, and for how many seconds."""

    tallies: Mapping[int, Tally]
    seconds: float

    def of(self, release: int) -> Tally:
        """The release's."""
        return self.tallies.get(release, Tally())


def look(folder: Path, traffic: Traffic, beats: Sequence[Heartbeat]) -> Window:
    """The window as of now; what was seen is written to `folder`."""
    present = {beat.instance: beat.tallies for beat in beats}
    with _alone(folder):
        before = _begun(folder / FILE, traffic)
        state = before.model_copy(
            update={"sequence": traffic.sequence, "baseline": present | before.baseline, "seen": before.seen | present}
        )
        replace_file(folder / FILE, state.model_dump_json())
    return Window(tallies=_grown(state), seconds=time.time() - state.since)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """A guard and a ramp look at the same time; the kernel gives the lock back however its holder ends."""
    with (folder / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _begun(path: Path, traffic: Traffic) -> State:
    """The window that runs, or a new one. Equal arms are not enough: the canary may have been away in between."""
    arms, before = json.dumps([arm.model_dump() for arm in traffic.arms]), _read(path)
    if before is not None and before.arms == arms and 0 <= traffic.sequence - before.sequence <= 1:
        return before
    return State(arms=arms, sequence=traffic.sequence, since=time.time(), baseline={}, seen={})


def _read(path: Path) -> State | None:
    try:
        return State.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def _grown(state: State) -> dict[int, Tally]:
    total: dict[int, Tally] = {}
    for instance, tallies in state.seen.items():
        for release, tally in tallies.items():
            base = state.baseline[instance].get(release, Tally())
            total[release] = _added(total.get(release, Tally()), _since(tally, base))
    return total


def _since(now: Tally, base: Tally) -> Tally:
    if now.answers < base.answers or now.failed < base.failed:
        return now
    return Tally(
        answers=now.answers - base.answers,
        degraded=max(0, now.degraded - base.degraded),
        failed=now.failed - base.failed,
        latency=tuple(max(0, a - b) for a, b in zip(now.latency, base.latency, strict=True)),
    )


def _added(one: Tally, other: Tally) -> Tally:
    return Tally(
        answers=one.answers + other.answers,
        degraded=one.degraded + other.degraded,
        failed=one.failed + other.failed,
        latency=tuple(a + b for a, b in zip(one.latency, other.latency, strict=True)),
    )
