"""What both arms answered since the shares last changed, summed over all orchestrators.

Heartbeats carry tallies since each process started. The first look after a change of the arms is the baseline; it is
kept on disk, so a guard that restarts forgets nothing. An orchestrator that vanished keeps what it had counted, one
that is new counts from zero, and a tally that shrank (its release was gone in between) starts over.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from exporters.traffic import replace_file
from model_repository.traffic import Heartbeat, Tally, Traffic

FILE = "guard.json"
Tallies = dict[str, dict[int, Tally]]


class State(BaseModel):
    """`arms` names the shares the window is of; `since` is its start, unix seconds."""

    model_config = ConfigDict(frozen=True)

    arms: str
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
    arms, now = json.dumps([arm.model_dump() for arm in traffic.arms]), time.time()
    present = {beat.instance: beat.tallies for beat in beats}
    before = _read(folder / FILE)
    if before is None or before.arms != arms:
        state = State(arms=arms, since=now, baseline=present, seen=present)
    else:
        state = before.model_copy(update={"seen": before.seen | present})
    replace_file(folder / FILE, state.model_dump_json())
    return Window(tallies=_grown(state), seconds=now - state.since)


def _read(path: Path) -> State | None:
    try:
        return State.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def _grown(state: State) -> dict[int, Tally]:
    total: dict[int, Tally] = {}
    for instance, tallies in state.seen.items():
        for release, tally in tallies.items():
            base = state.baseline.get(instance, {}).get(release, Tally())
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
