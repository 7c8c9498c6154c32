"""Items are withdrawn while they are recommended."""

import time

import httpx

from perf.drill.bench import ADMIN_KEY, Bench
from perf.drill.front import K, item_ids, level
from perf.drill.report import Drill, Report

WITHIN_S = 1.0
PATH = "/v1/items/availability"


def withdrawn(bench: Bench, report: Report) -> None:
    """What a user is shown is withdrawn: within a second on no rung any more (L0, and L3 or L4 while `candidates` is
    unloaded), k items all the same; then it comes back."""
    user, later = bench.users(2)
    gone = set(item_ids(bench.front.ask(user)))
    try:
        began = time.monotonic()
        _say(bench, gone, in_stock=False)
        while gone & _hidden_from(bench) and time.monotonic() < began + 5 * WITHIN_S:
            time.sleep(0.02)
        report.most("gone_s", time.monotonic() - began, WITHIN_S)
        with bench.unloaded(bench.served().recommend[0], "candidates"):
            lower = [bench.front.ask(name) for name in (user, later)]
        report.expect(all(level(one) in ("L3", "L4") for one in lower), f"rungs {[level(one) for one in lower]}")
        for one in lower:
            report.expect(not gone & set(item_ids(one)), f"{level(one)} shows what is withdrawn")
            report.expect(len(one["items"]) == K, f"{len(one['items'])} items on {level(one)}")
    finally:
        _say(bench, gone, reset=True)
    report.figures["items"] = len(gone)


DRILLS = (Drill(name="item-withdrawn", fault=14, work=withdrawn),)


def _hidden_from(bench: Bench) -> set[str]:
    """What a user who saw nothing yet is shown now."""
    answer = bench.front.ask(bench.users(1)[0], num_items=200)
    return set(item_ids(answer))


def _say(bench: Bench, items: set[str], **what: object) -> None:
    batch = {"items": [{"item_id": item_id, **what} for item_id in sorted(items)]}
    key = {"authorization": f"Bearer {ADMIN_KEY}"}
    httpx.post(bench.front.api.url + PATH, json=batch, headers=key, timeout=5.0).raise_for_status()
