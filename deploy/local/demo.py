"""`make demo`: ask the running platform for a few people, and show what came back and where the time went."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from deploy.local.errors import PlatformError
from deploy.local.serve import known_users
from deploy.settings import Settings

Json = dict[str, Any]
KNOWN_USERS, ITEMS, ROUNDS = 3, 5, 5
RETRIEVAL = ("recall_at_100", "popularity_recall_at_100", "oracle_recall_at_100")
RANKING = ("auc", "ndcg_at_10", "popularity_ndcg_at_10")
UNKNOWN_USER = "somebody-never-seen"


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """One user's answers: the first request, and repeats that find the caches warm; milliseconds by our clock."""

    user_id: str
    answer: Json
    first_ms: float
    again_ms: tuple[float, ...]


def run_demo(settings: Settings, url: str, console: Console) -> Json:
    """Ask, print, and return the summary that ends the output."""
    with httpx.Client(base_url=url, timeout=10.0) as client:
        visits = [visit(client, user) for user in [*known_users(settings, KNOWN_USERS), UNKNOWN_USER]]
    for one in visits:
        console.print(answer_table(one))
    console.print(timing_table(visits))
    return summary(settings, visits)


def visit(client: httpx.Client, user_id: str) -> Visit:
    """One first request and a few more."""
    _, first = _ask(client, user_id)
    again = [_ask(client, user_id) for _ in range(ROUNDS)]
    return Visit(user_id=user_id, answer=again[-1][0], first_ms=first, again_ms=tuple(ms for _, ms in again))


def _ask(client: httpx.Client, user_id: str) -> tuple[Json, float]:
    started = time.perf_counter()
    response = client.get("/recommend", params={"user_id": user_id, "num_items": ITEMS, "timings": "true"})
    elapsed = 1000 * (time.perf_counter() - started)
    if response.status_code != 200:
        raise PlatformError(f"GET {response.url} answered {response.status_code}: {response.text[:200]}")
    return response.json(), elapsed


def answer_table(one: Visit) -> Table:
    """The recommended items, best first."""
    degraded = f" · degraded: {one.answer['degraded']}" if one.answer["degraded"] else ""
    title = f"user {one.user_id} · release {one.answer['model_version']}{degraded}"
    table = Table(title=title, title_justify="left")
    for name in ("#", "item", "title", "category", "price", "score", "ctr", "cvr"):
        table.add_column(name, justify="right" if name in ("#", "price", "score", "ctr", "cvr") else "left")
    for item in one.answer["items"]:
        table.add_row(*item_cells(item))
    return table


def item_cells(item: Json) -> tuple[str, ...]:
    """One row of the table; below L1 there are no scores, and metadata may be unknown."""
    shown, scores = item["metadata"], item.get("scores") or {}
    words = (str(shown.get(name, "")) for name in ("title", "category"))
    figures = (shown.get("price"), item["score"], scores.get("ctr"), scores.get("cvr"))
    return (str(item["rank"]), item["item_id"], *words, *map(_cell, figures))


def timing_table(visits: Sequence[Visit]) -> Table:
    """Milliseconds a request took, ours and the server's own account by stage."""
    table = Table(title="milliseconds", title_justify="left")
    stages = list(dict.fromkeys(name for one in visits for name in stage_timings(one.answer)))
    for name in ("user", "first", "again (median)", *stages):
        table.add_column(name, justify="left" if name == "user" else "right")
    for one in visits:
        timings = stage_timings(one.answer)
        cells = [f"{timings[name]:.2f}" if name in timings else "–" for name in stages]
        table.add_row(one.user_id, f"{one.first_ms:.1f}", f"{median(one.again_ms):.1f}", *cells)
    return table


def stage_timings(answer: Json) -> Mapping[str, float]:
    """The server's timings by stage, in milliseconds."""
    timings = answer.get("timings") or {}
    return {name: float(value) for name, value in timings.items() if isinstance(value, int | float)}


def summary(settings: Settings, visits: Sequence[Visit]) -> Json:
    """The demo's last line: size of the data, the release, the answers, how fast and how good."""
    metrics = newest_metrics(settings.lines)
    again = [ms for one in visits for ms in one.again_ms]
    return {
        **table_sizes(settings.tables / "report.json"),
        "release": visits[0].answer["model_version"],
        "recommendations": [{name: one.answer[name] for name in ("user_id", "items", "degraded")} for one in visits],
        "latency_ms": {
            "first": round(max(one.first_ms for one in visits), 2),
            "p50": round(median(again), 2),
            "max": round(max(again), 2),
            "stages": dict(stage_timings(visits[0].answer)),
        },
        "retrieval": _pick(metrics, "retrieval", *RETRIEVAL),
        "ranking": _pick(metrics, "ranking", *RANKING),
    }


def table_sizes(report: Path) -> Json:
    """Rows of users, items and events that passed validation."""
    tables = _read(report).get("tables", {})
    return {name: tables.get(name, {}).get("clean") for name in ("users", "items", "events")}


def newest_metrics(lines: Path) -> Json:
    """The newest line's `metrics.json`; empty without one."""
    numbers = sorted(int(p.parent.name) for p in lines.glob("*/metrics.json") if p.parent.name.isdigit())
    return _read(lines / str(numbers[-1]) / "metrics.json") if numbers else {}


def median(values: Sequence[float]) -> float:
    """The middle value (the upper one of two)."""
    return sorted(values)[len(values) // 2]


def _pick(metrics: Json, group: str, *names: str) -> Json:
    return {name: metrics.get(group, {}).get(name) for name in names}


def _read(path: Path) -> Json:
    try:
        return dict(json.loads(path.read_text()))
    except OSError:
        return {}


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
