"""Triton and its stubs die, hang and come back under load: by the stack's own doing, none by the drill's."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from exporters.server import Server
from perf.drill.bench import Bench
from perf.drill.front import Front, K, item_ids, level, reasons
from perf.drill.load import Load, Seen
from perf.drill.report import Drill, Report

STEADY_S = 2.0
OPENS_S, CLOSES_S = 1.0, 5.0
WHOLE_S = 15.0  # after a stub died or hung, and for a supervisor to see that Triton died
BUDGET = 1.25  # of the deadline, for p99: HTTP and the generator's own lag lie outside of it
POPULAR, KEPT = "L4", "L3"


def triton_killed(bench: Bench, report: Report) -> None:
    """Triton is killed under load: every request gets 20 items from a lower rung, until its supervisor has started it
    again and the watchdog has loaded what the record lists."""
    with bench.front.load(bench.users(200)) as load:
        time.sleep(STEADY_S)
        died = time.monotonic()
        deaths = bench.deaths
        os.kill(bench.serving.triton.pid, signal.SIGKILL)
        while bench.deaths == deaths and time.monotonic() < died + WHOLE_S:
            time.sleep(0.05)
        bench.await_models()
        report.figures["triton_back_s"] = round(time.monotonic() - died, 1)
        _closes(load, report)
    report.most("opens_s", load.first(died, lambda one: not one.full), OPENS_S)
    load.judge(report)


def triton_restarted(bench: Bench, report: Report) -> None:
    """Triton is stopped and started again under load: no request fails, though no model is known until it is loaded."""
    with bench.front.load(bench.users(200)) as load:
        time.sleep(STEADY_S)
        report.figures["triton_back_s"] = round(bench.restart_triton(), 1)
        _closes(load, report)
    load.judge(report)


def triton_hung(bench: Bench, report: Report) -> None:
    """Triton stands still for 3 s under load: the breakers open, so that nobody waits for it, and close afterwards."""
    with bench.front.load(bench.users(150)) as load:
        time.sleep(STEADY_S)
        stopped = time.monotonic()
        with _stopped(bench.serving.triton.pid):
            report.most("opens_s", load.until(stopped, _refused, 3.0), OPENS_S)
            time.sleep(3.0)
        _closes(load, report)
    load.judge(report)
    _within_budget(bench, load, report)


def candidates_killed(bench: Bench, report: Report) -> None:
    """The process behind `candidates` is killed under load: lower rungs answer within the deadline, the other models
    serve, and the watchdog loads it again."""
    with bench.front.load(bench.users(300)) as load:
        time.sleep(STEADY_S)
        _until_mended(bench, load, "candidates", signal.SIGKILL, report)
    load.judge(report)
    _within_budget(bench, load, report)


def candidates_hung(bench: Bench, report: Report) -> None:
    """The process behind `candidates` stands still for good under load: the breakers open, the other models serve, and
    the watchdog ends it and loads it again."""
    with bench.front.load(bench.users(300)) as load:
        time.sleep(STEADY_S)
        stopped = _until_mended(bench, load, "candidates", signal.SIGSTOP, report)
    report.most("opens_s", load.first(stopped, _refused), 3.0)
    load.judge(report)
    _within_budget(bench, load, report)


def ranker_hung(bench: Bench, report: Report) -> None:
    """The ranker's process stands still for good: answers in retrieval order (L2) within the deadline, until the
    watchdog has ended it and loaded it again."""
    with bench.front.load(bench.users(300)) as load:
        time.sleep(STEADY_S)
        stopped = _until_mended(bench, load, "ranker", signal.SIGSTOP, report)
    _rungs(load, stopped + 0.2, stopped + 2.0, {"L2"}, report)  # sooner than that nobody may call it dead
    load.judge(report)
    _within_budget(bench, load, report)


def ranker_slow(bench: Bench, report: Report) -> None:
    """The ranker takes half a second more for each call: cut at its stage's cap, answers in retrieval order (L2)."""
    with bench.front.load(bench.users(200)) as load:
        time.sleep(STEADY_S)
        for _ in range(6):
            with bench.hung("ranker"):
                time.sleep(0.5)
            time.sleep(0.02)
        _closes(load, report)
    load.judge(report)
    levels = {one.level for one in load.seen}
    report.expect("L2" in levels and levels <= {"none", "L0", "L2"}, f"answers came from {sorted(levels)}")
    _within_budget(bench, load, report)


def candidates_down(bench: Bench, report: Report) -> None:
    """`candidates` and the ensemble are unloaded: who was here before gets the kept answer (L3), others popular items
    (L4)."""
    known, strangers = bench.users(30), bench.users(30)
    before = {user: set(item_ids(bench.front.ask(user))) for user in known}
    time.sleep(0.5)  # an answer is kept in the background
    with bench.unloaded(bench.served().recommend[0], "candidates"):
        _ask_all(bench.front, known, KEPT, report, before)
        _ask_all(bench.front, strangers, POPULAR, report, {})
    report.most("closes_s", bench.front.until_full(bench.users(60), CLOSES_S, streak=1), CLOSES_S)


DRILLS = (
    Drill(name="triton-killed", fault=1, work=triton_killed, kills=True),
    Drill(name="triton-hung", fault=1, work=triton_hung),
    Drill(name="triton-restarted", fault=2, work=triton_restarted),
    Drill(name="candidates-killed", fault=3, work=candidates_killed),
    Drill(name="candidates-hung", fault=3, work=candidates_hung),
    Drill(name="ranker-hung", fault=5, work=ranker_hung),
    Drill(name="ranker-slow", fault=5, work=ranker_slow),
    Drill(name="candidates-down", fault=6, work=candidates_down),
)


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """The process stands still inside the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _until_mended(bench: Bench, load: Load, model: str, number: signal.Signals, report: Report) -> float:
    """Signal the model's stubs and wait until the path is whole again, and a moment longer; when that was."""
    reloads, began = bench.reloads(model), time.monotonic()
    pids = bench.signal_stubs(model, number)
    degraded = load.until(began, lambda one: not one.full, OPENS_S)
    others = Server(bench.settings.triton_url)
    ready = {name for name, version in others.loaded() if others.ready(name, version)}
    report.expect("user_tower" in ready, "the other models are gone")
    report.most("closes_s", load.whole(began + degraded, WHOLE_S) + degraded, WHOLE_S)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)  # one that was left would go on now, and Triton abort
    time.sleep(2.0)
    report.expect(bench.reloads(model) == reloads + 1, f"{bench.reloads(model) - reloads:.0f} reloads, not one")
    return began


def _refused(one: Seen) -> bool:
    """Whether a call was not even tried."""
    return any(reason.endswith("_unavailable") for reason in one.reasons)


def _closes(load: Load, report: Report) -> None:
    """Wait until the path is whole again, and a moment longer."""
    report.most("closes_s", load.until(time.monotonic(), lambda one: one.full, 2 * CLOSES_S), CLOSES_S)
    time.sleep(1.0)


def _within_budget(bench: Bench, load: Load, report: Report) -> None:
    report.most("p99_ms", load.p99_ms, BUDGET * bench.settings.deadline_ms)


def _rungs(load: Load, start: float, end: float, allowed: set[str], report: Report) -> None:
    found = {one.level for one in load.between(start, end)}
    report.expect(found <= allowed, f"answers came from {sorted(found)}, not only {sorted(allowed)}")


def _ask_all(front: Front, users: list[str], rung: str, report: Report, before: dict[str, set[str]]) -> None:
    answers = {user: front.ask(user) for user in users}
    report.figures[f"{rung}_answers"] = sum(level(answer) == rung for answer in answers.values())
    for user, answer in answers.items():
        report.expect(level(answer) == rung, f"{user} got {level(answer)} {reasons(answer)}, not {rung}")
        report.expect(len(answer["items"]) == K, f"{user} got {len(answer['items'])} items")
        report.expect(not before.get(user, set()) & set(item_ids(answer)), f"{user} was shown the same items again")
