"""The features of one request's candidates, read in four ways from the same items, taking turns."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import redis

from deploy.settings import Settings
from feature_repo.vectors import Ints
from perf.compare.turns import medians, ratios, take_turns
from perf.errors import PerfError
from perf.peers.item_stores import RESIDENT, TIMEOUT_S, Read, empty, fill, readers
from perf.peers.models import Release
from perf.peers.subset import Subset

ROUNDS, REQUESTS = 9, 4


def measure(settings: Settings, rounds: int = ROUNDS) -> dict[str, object]:
    """Milliseconds by way, and how many times as fast the resident table is. Needs the stack's Redis."""
    release = Release.newest(settings)
    items = Subset.of(release.folder)
    with redis.Redis.from_url(settings.redis_url, socket_timeout=TIMEOUT_S) as client:
        try:
            fill(settings, items, client)
            ways, asked = readers(settings, items, client), requests(len(items.rows), release.candidates)
            refuse_differences(ways, asked[0])
            samples = take_turns({name: partial(milliseconds, way, asked) for name, way in ways.items()}, rounds)
        finally:
            empty(items, client)
    return {
        **medians(samples), "items": len(items.rows), "rows": len(asked[0]),
        "speedup": {name: ratios(theirs, samples[RESIDENT]).rounded(1) for name, theirs in samples.items()
                    if name != RESIDENT},
        "samples": samples,
    }  # fmt: skip


def requests(items: int, k: int, count: int = REQUESTS) -> Sequence[Ints]:
    """Different places [k] of `count` requests."""
    rng = np.random.default_rng(0)
    return [rng.choice(items, min(k, items), replace=False) for _ in range(count)]


def milliseconds(read: Read, asked: Sequence[Ints]) -> float:
    """One request, the mean of all."""
    started = time.perf_counter()
    for places in asked:
        read(places)
    return (time.perf_counter() - started) * 1000 / len(asked)


def refuse_differences(ways: dict[str, Callable[[Ints], np.ndarray]], places: Ints) -> None:
    """Raises PerfError unless every way answers the same, bit for bit."""
    expected = ways[RESIDENT](places)
    for name, way in ways.items():
        if not np.array_equal(way(places), expected):
            raise PerfError(f"{name} answers other features than the resident table; its copy in Redis is stale")
