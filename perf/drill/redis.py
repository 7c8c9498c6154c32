"""Redis refuses, flaps, swallows, delays and forgets: users get ranked answers (L1), nothing piles up."""

import time
from collections.abc import Callable

from redis import Redis

from perf.drill.bench import Bench
from perf.drill.front import Front, level, reasons
from perf.drill.load import Load
from perf.drill.report import Drill, Report

STEADY_S = 2.0
BUDGET = 1.25
BACK_S = 5.0
EMPTY = 9  # a database that nobody uses
GROWTH = 8  # file descriptors and threads that may come and go by themselves
GROWTH_MIB = 16.0


def redis_refuses(bench: Bench, report: Report) -> None:
    """Redis refuses connections for 3 s under load: ranked answers (L1) for known and unknown users, and no waiting."""
    front, proxy = bench.behind_proxy()
    connects = front.sockets()
    with front.load(bench.users(150)) as load:
        time.sleep(STEADY_S)
        gone = time.monotonic()
        proxy.refuse()
        time.sleep(3.0)
        report.most("sockets_more", front.sockets() - connects, 32 + GROWTH)  # the load's own connections
        back = time.monotonic()
        proxy.allow()
        _back(load, report)
    load.judge(report)
    _ranked(load, gone + 0.2, back, report)
    report.most("p99_ms", load.p99_ms, BUDGET * bench.settings.deadline_ms)


def redis_flaps(bench: Bench, report: Report) -> None:
    """Redis goes and comes back every 0.4 s, five times: ranked answers all along, the variant stays the same."""
    front, proxy = bench.behind_proxy()
    user = bench.users(1)[0]
    variants = {front.ask(user)["variant"]}
    with front.load(bench.users(150)) as load:
        time.sleep(STEADY_S)
        for _ in range(5):
            proxy.refuse()
            time.sleep(0.2)
            variants.add(front.ask(user)["variant"])
            proxy.allow()
            time.sleep(0.2)
        _back(load, report)
    load.judge(report)
    report.expect(len(variants) == 1, f"the user was in the arms {sorted(variants)}")
    report.expect({one.level for one in load.seen} <= {"none", "L0", "L1"}, "an answer was not ranked")


def redis_black_holed(bench: Bench, report: Report) -> None:
    """Redis swallows everything for 3 s under load: ranked answers after the read's cap, nothing piles up."""
    front, proxy = bench.behind_proxy()
    _without_growth(bench, front, report, proxy.swallow, proxy.allow)


def redis_slow(bench: Bench, report: Report) -> None:
    """Every answer of Redis comes 200 ms later for 3 s: as when it is black-holed."""
    front, proxy = bench.behind_proxy()
    _without_growth(bench, front, report, lambda: proxy.delay(0.2), proxy.allow)


def redis_flushed(bench: Bench, report: Report) -> None:
    """Redis loses everything (its database is swapped for an empty one): L1 with `features_absent`, nothing made up
    is kept, the record stays."""
    users, release = bench.users(30), bench.front.ask(bench.users(1)[0])["model_version"]
    bench.redis.swapdb(0, EMPTY)
    try:
        time.sleep(2 * 0.5 + 0.5)  # the marker is read with the traffic record
        answers = [bench.front.ask(user) for user in users]
        time.sleep(0.5)  # writes come after the answer
        kept = [key.decode() for key in bench.redis.scan_iter("*") if key.decode().rpartition(":")[2] in users]
        kept = [key for key in kept if key.startswith(("user:", "embedding:"))]
    finally:
        bench.redis.swapdb(0, EMPTY)
    _forget(bench)
    found = {(level(answer), *reasons(answer)) for answer in answers}
    report.figures["answers"] = [" ".join(one) for one in sorted(found)]
    report.expect(found == {("L1", "features_absent")}, f"answers were {sorted(found)}")
    report.expect({answer["model_version"] for answer in answers} == {release}, "another release answered")
    report.expect(not kept, f"defaults were kept as if they were known: {kept[:3]}")


DRILLS = (
    Drill(name="redis-refuses", fault=7, work=redis_refuses),
    Drill(name="redis-flaps", fault=7, work=redis_flaps),
    Drill(name="redis-black-holed", fault=8, work=redis_black_holed),
    Drill(name="redis-slow", fault=8, work=redis_slow),
    Drill(name="redis-flushed", fault=10, work=redis_flushed),
)


def _without_growth(
    bench: Bench, front: Front, report: Report, breaks: Callable[[], None], mends: Callable[[], None]
) -> None:
    with front.load(bench.users(150)) as load:
        time.sleep(STEADY_S)
        before = front.threads(), front.memory_mib()
        gone = time.monotonic()
        breaks()
        time.sleep(3.0)
        report.most("threads_more", front.threads() - before[0], GROWTH)
        report.most("memory_more_mib", front.memory_mib() - before[1], GROWTH_MIB)
        report.most("in_flight", front.metric("recommendations_in_flight"), 16)
        back = time.monotonic()
        mends()
        _back(load, report)
    load.judge(report)
    _ranked(load, gone + 0.2, back, report)
    report.most("p99_ms", load.p99_ms, BUDGET * bench.settings.deadline_ms)


def _back(load: Load, report: Report) -> None:
    report.most("back_s", load.until(time.monotonic(), lambda one: one.full, 2 * BACK_S), BACK_S)
    time.sleep(1.0)


def _ranked(load: Load, start: float, end: float, report: Report) -> None:
    found = {one.level for one in load.between(start, end)}
    report.expect(found == {"L1"}, f"answers came from {sorted(found)}, not L1")


def _forget(bench: Bench) -> None:
    """Empty the database that stood in."""
    with Redis(host=bench.settings.host, port=bench.settings.redis_port, db=EMPTY, socket_timeout=5.0) as store:
        store.flushdb()
