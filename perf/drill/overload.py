"""Too many requests, a herd after an outage, clients that hang up."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import numpy as np

from perf.control import control
from perf.drill.bench import Bench
from perf.drill.front import Front
from perf.drill.report import Drill, Report
from perf.load import ClosedLoop, OpenLoop, Outcome, drive
from perf.load.answer import OK
from perf.load.outcome import Milliseconds, quantile

TIMES = 2.0  # the capacity
SECONDS = 15.0
CLIENTS = 16
GOODPUT = 0.8
REFUSED = (str(int(HTTPStatus.TOO_MANY_REQUESTS)), str(int(HTTPStatus.SERVICE_UNAVAILABLE)))
REFUSED_P50_MS, REFUSED_P99_MS = 10.0, 50.0
RECOVERS_S = 10.0
HERD_RATE = 80.0
UPSTREAM = 1.1
GONE = 60


def overload(bench: Bench, report: Report) -> None:
    """Open loop at twice the capacity: goodput ≥ 80 % of it, net of the generator's CPU; the rest is refused at once
    with Retry-After; whole again within 10 s. Refusals are judged beside a server that does nothing."""
    users = bench.users(4000)
    closed = drive(bench.front.target(users), ClosedLoop(clients=CLIENTS, seconds=5.0))
    capacity = closed.answered_per_second
    with control(bench.settings.host, SECONDS - 2.0) as beside, _headers(bench.front, users) as heads:
        load = OpenLoop(rate=TIMES * capacity, seconds=SECONDS)
        over = drive(bench.front.target(users), load)
    report.most("recovers_s", bench.front.until_full(bench.users(120), RECOVERS_S), RECOVERS_S)
    floor = GOODPUT * capacity * _left(over, TIMES * capacity) / _left(closed, capacity)
    report.figures |= {
        "capacity": round(capacity, 1), "offered": round(over.offered_per_second, 1),
        "statuses": over.statuses, "levels": over.degraded, "floor": round(floor, 1),
        "generator_cpu_ms": round(over.generator_cpu_ms, 3), "generator_lag_ms": round(over.generator_lag_ms, 1),
    }  # fmt: skip
    report.least("goodput", over.goodput(), floor)
    report.expect(set(over.statuses) <= {OK, *REFUSED}, f"statuses {over.statuses}")
    report.expect(all(b"\r\nretry-after:" in head.lower() for head in heads), "a refusal had no Retry-After")
    _refusals(over, beside(), report)


def recovery_herd(bench: Bench, report: Report) -> None:
    """Triton stands still for 3 s under load and comes back: it is asked for at most 1.1 × the requests, nobody
    retries."""
    served = bench.served()
    models = {"user_tower": served.user_tower, "recommend": served.recommend, "candidates": served.candidates}
    before = {name: bench.inferences(model) for name, model in models.items()}
    with bench.front.load(bench.users(400), HERD_RATE) as load:
        time.sleep(1.0)
        os.kill(bench.serving.triton.pid, signal.SIGSTOP)
        time.sleep(3.0)
        os.kill(bench.serving.triton.pid, signal.SIGCONT)
        back = time.monotonic()
        report.most("whole_s", load.until(back, lambda one: one.full, 10.0), 5.0)
        time.sleep(2.0)
    load.judge(report)
    requests = sum(load.statuses.values())
    calls = {name: (bench.inferences(model) - before[name]) / requests for name, model in models.items()}
    report.expect(calls["recommend"] > 0, "Triton counted nothing")
    for name, share in calls.items():
        report.most(f"{name}_calls_per_request", share, UPSTREAM)


def clients_hang_up(bench: Bench, report: Report) -> None:
    """Sixty clients hang up while the ranker stands still: their slots are free at once, nothing is left in flight."""
    counted = bench.front.metric("recommendation_requests_total", status="499")
    users = bench.users(GONE)
    with bench.hung("ranker"):
        wires = [asked(bench.front, user) for user in users]
        time.sleep(0.01)
        for wire in wires:
            wire.close()
        began = time.monotonic()
        while (left := bench.front.metric("recommendations_in_flight")) and time.monotonic() < began + 2.0:
            time.sleep(0.01)
    report.most("in_flight", left, 0)
    report.figures["free_after_ms"] = round(1000 * (time.monotonic() - began), 1)
    gone = bench.front.metric("recommendation_requests_total", status="499") - counted
    report.least("hung_up", gone, GONE / 2)  # some were answered first


DRILLS = (
    Drill(name="overload", fault=23, work=overload),
    Drill(name="recovery-herd", fault=24, work=recovery_herd),
    Drill(name="clients-hang-up", fault=25, work=clients_hang_up),
)


def _left(outcome: Outcome, rate: float) -> float:
    """Cores that the generator leaves to what is measured."""
    return max(0.1, (os.cpu_count() or 1) - rate * outcome.generator_cpu_ms / 1000)


def _refusals(over: Outcome, idle: Outcome, report: Report) -> None:
    refused = _latency(over, *REFUSED)
    beside = _latency(idle, OK)
    report.figures |= {"refused": len(refused), "control_p50_ms": round(quantile(beside, 0.5), 2),
                       "control_p99_ms": round(quantile(beside, 0.99), 2)}  # fmt: skip
    if len(refused):
        more = (quantile(refused, share) - quantile(beside, share) for share in (0.5, 0.99))
        report.figures |= {"refused_p50_ms": round(quantile(refused, 0.5), 2),
                           "refused_p99_ms": round(quantile(refused, 0.99), 2)}  # fmt: skip
        report.most("refused_p50_over_control_ms", next(more), REFUSED_P50_MS)
        report.most("refused_p99_over_control_ms", next(more), REFUSED_P99_MS)


def _latency(outcome: Outcome, *statuses: str) -> Milliseconds:
    """From the actual send: a generator that is behind would hide what a refusal takes."""
    chosen = np.array([answer.status in statuses for answer in outcome.answers], bool)[outcome.answer]
    return 1000 * (outcome.done_s - outcome.sent_s)[chosen & np.isfinite(outcome.sent_s)]


@contextmanager
def _headers(front: Front, users: list[str]) -> Iterator[list[bytes]]:
    """Heads of the refusals that one more client meets, ten requests a second."""
    heads: list[bytes] = []
    ended = threading.Event()

    def ask() -> None:
        for user in users:
            if ended.wait(0.1):
                return
            request = f"GET /recommend?user_id={user} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
            status, answer = front.send(request)
            if str(status) in REFUSED:
                heads.append(answer.partition(b"\r\n\r\n")[0])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield heads
    finally:
        ended.set()
        thread.join()


def asked(front: Front, user: str, request_id: str = "hung-up") -> socket.socket:
    """A connection with a request on it whose answer is still to be read."""
    wire = socket.create_connection(front.address, timeout=5.0)
    wire.sendall(f"GET /recommend?user_id={user} HTTP/1.1\r\nhost: x\r\nx-request-id: {request_id}\r\n\r\n".encode())
    return wire
