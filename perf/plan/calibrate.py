"""Measuring one setting on a stack of its own, and a profile from all settings of the calibration."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from deploy.settings import Settings
from exporters.manifest import Manifest, read
from feature_repo.store import connect
from perf.catalogue.make import catalogue_settings, make
from perf.load import ClosedLoop, Outcome, Target, drive
from perf.plan.fit import fit
from perf.plan.meter import ALL_CORES, Reading, look
from perf.plan.profile import Profile, Seen, Stored
from perf.plan.trials import CALIBRATION, Trial
from perf.plan.work import MIB, forest_visits, item_row_bytes, line_bytes, scan_of
from perf.stack import Serving, serving
from perf.users import user_id
from training.machine import facts

Report = Callable[[str], None]
CLIENTS = 12  # always busy: enough to saturate two cores
SECONDS, ALONE_S, WARM_UP_S = 10.0, 5.0, 4.0
HOT, COLD = 100, 60_000  # users whose embedding is soon cached; users of whom nearly none is asked twice
DEADLINE_MS = 2000.0  # nothing is degraded: a slow answer is measured, not replaced
PATTERNS = {"user_row": "user:*", "embedding": "embedding:*", "shown": "shown:*", "display": "item:*"}
SAMPLED = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A setting's stack, who asks it, and the release it serves."""

    trial: Trial
    stack: Serving
    target: Target
    manifest: Manifest

    @property
    def cores(self) -> int:
        """Cores of the stack."""
        return self.trial.cores or ALL_CORES

    def look(self) -> Reading:
        """What the stack has used so far."""
        return look(self.stack.pids(), self.cores, self.stack.url)


@contextmanager
def running(settings: Settings, trial: Trial, report: Report) -> Iterator[Running]:
    """Make the setting's catalogue if need be, and serve it."""
    source = settings.model_copy(update={"index": "ivf", "deadline_ms": DEADLINE_MS})
    report(f"{trial.name}: catalogue of {trial.items:,}")
    release = make(source, trial.items, report, candidates=trial.candidates, trees=trial.trees)
    place = catalogue_settings(source, trial.items, trial.candidates, trial.trees)
    with serving(place, trial.cores, users=HOT + COLD) as stack:
        forget_embeddings(place)
        target = Target(host=place.host, port=place.api_port, users=askers(trial.misses))
        yield Running(trial=trial, stack=stack, target=target, manifest=read(release))


def forget_embeddings(settings: Settings) -> None:
    """Remove cached embeddings: an earlier run asked for the same users."""
    with connect(settings) as client:
        keys = client.scan_iter(PATTERNS["embedding"], count=10_000)
        while batch := list(islice(keys, 10_000)):
            client.unlink(*batch)


def askers(misses: float) -> tuple[str, ...]:
    """Users to draw from so that about the share `misses` of the draws is somebody new: those who come again are in
    the list as often as it takes."""
    cold = tuple(user_id(HOT + number) for number in range(COLD)) if misses else ()
    if misses == 1:
        return cold
    hot = tuple(user_id(number) for number in range(HOT))
    return cold + hot * (max(1, round(COLD / HOT * (1 - misses) / misses)) if misses else 1)


def see(one: Running) -> Seen:
    """Saturate the stack, then ask it from a single client. The share of misses is what came out; every run draws
    other users."""
    drive(one.target, ClosedLoop(clients=CLIENTS, seconds=WARM_UP_S, seed=1))
    before = one.look()
    loaded = drive(one.target, ClosedLoop(clients=CLIENTS, seconds=SECONDS, warm_up_s=0.0, seed=2))
    after = one.look()
    alone = drive(one.target, ClosedLoop(clients=1, seconds=ALONE_S, seed=3)).latency_ms
    trial, scan = one.trial, scan_of(one.manifest)
    return Seen(
        name=trial.name, items=trial.items, candidates=trial.candidates, trees=trial.total_trees,
        leaves=trial.trees.leaves, misses=before.missed(after), cores=one.cores, others_cores=before.others(after),
        scanned_mib=(scan.scanned_bytes + scan.coarse_bytes) / MIB,
        visits=forest_visits(trial.candidates, trial.total_trees, trial.trees.leaves),
        rate=round(loaded.answered_per_second, 2), cpu_ms=before.cpu_ms(after, answered(loaded)),
        latency_one_client_ms=round(float(np.mean(alone)), 3),
        scv_one_client=round(float(np.var(alone) / np.mean(alone) ** 2), 4),
    )  # fmt: skip


def calibrate(settings: Settings, report: Report, trials: Sequence[Trial] = CALIBRATION) -> Profile:
    """Measure every setting and fit. Raises PerfError."""
    seen, stored = [], None
    for trial in trials:
        with running(settings, trial, report) as one:
            seen.append(see(one))
            stored = stored or stored_bytes(one)
        report(f"{trial.name}: {seen[-1].rate:.0f} requests/s, {sum(seen[-1].cpu_ms.values()):.2f} ms of CPU each")
    assert stored is not None
    return fit(seen, facts(), stored, ALL_CORES)


def stored_bytes(one: Running) -> Stored:
    """What Redis keeps for a user and an item, by its own account, and the release's files."""
    with connect(one.stack.settings) as client:
        sizes = {kind: _usage(client, pattern) for kind, pattern in PATTERNS.items()}
    return Stored(**sizes, line=line_bytes(one.manifest), item_row=round(item_row_bytes(one.manifest), 1))


def answered(outcome: Outcome) -> int:
    """Requests that were answered with 200."""
    return int(outcome.statuses.get("200", 0))


def _usage(client: Any, pattern: str) -> float:
    """Mean bytes of a key with its value; 0 where there is none."""
    keys = list(islice(client.scan_iter(pattern, count=1000), SAMPLED))
    return round(float(sum(client.memory_usage(key) for key in keys)) / max(len(keys), 1), 1)
