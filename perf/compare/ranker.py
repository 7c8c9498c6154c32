"""The ranker stage: one request's candidates through every forest engine, one thread each, taking turns."""

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np

from deploy.settings import Settings
from feature_repo.rows import UserRow, unpack_user_row
from feature_repo.schema import CONTEXT_WIDTH
from feature_repo.vectors import Floats
from perf.compare.turns import medians, ratios, take_turns
from perf.peers.forests import CALLS, LIGHTGBM, SERVED, Engine, open_forests
from perf.peers.models import LocalModels, Release, lightgbm
from perf.users import packed_rows

ROUNDS, MATRICES = 15, 8


def measure(settings: Settings, rounds: int = ROUNDS) -> dict[str, object]:
    """Milliseconds by engine, how many times as fast the served engine is, and how far scores are from LightGBM's."""
    release, work = Release.newest(settings), settings.workspace / "perf"
    work.mkdir(parents=True, exist_ok=True)
    matrices = request_matrices(settings, release)
    with ExitStack() as held:
        forests = open_forests(release, matrices, work, held)
        samples = take_turns({name: engine.milliseconds for name, engine in forests.engines.items()}, rounds)
        apart = differences(forests.engines)
    served = samples[SERVED]
    return {
        **medians(samples), "rows": len(matrices[0]), "features": matrices[0].shape[1], "calls_per_sample": CALLS,
        "served": SERVED,
        "speedup": {name: ratios(theirs, served).rounded() for name, theirs in samples.items() if name != SERVED},
        "max_difference": apart, "missing": forests.missing, "samples": samples,
    }  # fmt: skip


def differences(engines: dict[str, Engine]) -> dict[str, float]:
    """Largest difference of any score from LightGBM's."""
    expected = engines[LIGHTGBM].scores()
    return {name: float(np.abs(engine.scores() - expected).max()) for name, engine in engines.items()}


def request_matrices(settings: Settings, release: Release, count: int = MATRICES) -> Sequence[Floats]:
    """What the ranker sees in `count` requests: [k, RANKER_WIDTH] of as many users with their candidates."""
    models = LocalModels(release, lightgbm(release.forest))
    rows = packed_rows(settings)
    chosen = [unpack_user_row(rows[i]) for i in np.linspace(0, len(rows) - 1, count).astype(int)]
    return [_matrix(models, user) for user in chosen]


def _matrix(models: LocalModels, user: UserRow) -> Floats:
    found = models.search(models.embed(user.values[None]), np.zeros(1, np.int32))
    return models.matrix(user.values, user.history, np.zeros(CONTEXT_WIDTH, np.float32), found)
