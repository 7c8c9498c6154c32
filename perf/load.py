"""Closed-loop load on the REST API: how it answers, from which release, and how fast with all clients always busy.

The generator shares the machine with what it measures, so the rate is a floor; its own CPU is reported apart.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import httpx
import numpy as np
import orjson

from deploy.settings import Settings
from perf.errors import PerfError
from training.dataset import Dataset

WARM_UP = 50
TIMEOUT = 5.0


@dataclass(slots=True)
class Outcome:
    """What came back: counts by status, release and degraded level, latencies in ms."""

    statuses: Counter[str] = field(default_factory=Counter)
    releases: Counter[str] = field(default_factory=Counter)
    degraded: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)


def load(settings: Settings, requests: int, clients: int, seed: int = 0) -> dict[str, object]:
    """Send `requests` for random known users from `clients` at once. Raises PerfError when nobody answers."""
    users = sorted({str(user) for user in Dataset(settings.features).users.index.get_level_values(0)})
    chosen = [users[i] for i in np.random.default_rng(seed).integers(len(users), size=requests + WARM_UP)]
    base = f"http://{settings.host}:{settings.api_port}"
    asyncio.run(_drive(base, chosen[:WARM_UP], clients))
    cpu, wall = time.process_time(), time.perf_counter()
    outcome = asyncio.run(_drive(base, chosen[WARM_UP:], clients))
    elapsed = time.perf_counter() - wall
    return {
        "requests": requests, "clients": clients, "requests_per_second": round(requests / elapsed, 1),
        "statuses": dict(outcome.statuses), "releases": dict(outcome.releases), "degraded": dict(outcome.degraded),
        "latency_ms": _percentiles(outcome.latencies),
        "generator_cpu_ms_per_request": round((time.process_time() - cpu) * 1000 / requests, 3),
    }  # fmt: skip


async def _drive(base: str, users: Sequence[str], clients: int) -> Outcome:
    queue, outcome = iter(users), Outcome()
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=base, limits=limits, timeout=TIMEOUT) as client:
        await asyncio.gather(*(_client(client, queue, outcome) for _ in range(clients)))
    return outcome


async def _client(client: httpx.AsyncClient, users: Iterator[str], outcome: Outcome) -> None:
    for user in users:
        started = time.perf_counter()
        try:
            answer = await client.get("/recommend", params={"user_id": user, "num_items": 20})
        except httpx.ConnectError:
            raise PerfError(f"nobody answers at {client.base_url}; run `make serve` first") from None
        except httpx.HTTPError as error:
            outcome.statuses[type(error).__name__] += 1
            continue
        outcome.latencies.append((time.perf_counter() - started) * 1000)
        outcome.statuses[str(answer.status_code)] += 1
        if answer.status_code == httpx.codes.OK:
            body = orjson.loads(answer.content)
            outcome.releases[body["model_version"]] += 1
            outcome.degraded[(body["degraded"] or {"level": "none"})["level"]] += 1


def _percentiles(latencies: list[float]) -> dict[str, float]:
    values = np.percentile(latencies, (50, 90, 99)) if latencies else (float("nan"),) * 3
    return {name: round(float(value), 2) for name, value in zip(("p50", "p90", "p99"), values, strict=True)}
