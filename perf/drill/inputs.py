"""What strangers send: poison, floods of fields, slow bodies, control characters. Raw bytes over a socket."""

import socket
import time
from collections import Counter
from http import HTTPStatus

import orjson

from perf.drill.bench import Bench
from perf.drill.front import Front, read_answer
from perf.drill.report import Drill, Report

SECRET = b"s3cr3t-marker"  # must never come back
REFUSED = {400, 408, 413, 415, 422, 431}
DEEP = 10_000
GROWTH_MIB = 16.0
QUICK_MS = 50.0
BODY_S = 5.0  # after which a body that trickles is given up


def poison_bodies(bench: Bench, report: Report) -> None:
    """Broken and hostile JSON: refused with 400, 413, 415 or 422, never echoed, and the worker lives."""
    statuses: Counter[int] = Counter()
    for body in _poison():
        status, answer = bench.front.post(body)
        statuses[status] += 1
        report.expect(status in REFUSED, f"{status} for {body[:40]!r}")
        report.expect(SECRET not in answer, f"the input came back: {body[:40]!r}")
    for content_type in (b"text/plain", b"application/json; charset=utf-16", b""):
        status, _ = bench.front.post(b"{}", content_type)
        statuses[status] += 1
        report.expect(status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"{status} for content type {content_type!r}")
    report.figures["statuses"] = _named(statuses)
    _alive(bench, report)


def slow_body(bench: Bench, report: Report) -> None:
    """Thirty bodies that never end: each is given up with 408 after 5 s, while others are answered."""
    head = b"POST /v1/recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    wires = [socket.create_connection(bench.front.address, timeout=2 * BODY_S) for _ in range(30)]
    began = time.monotonic()
    for wire in wires:
        wire.sendall(head)
    _alive(bench, report)
    statuses = Counter(read_answer(wire)[0] for wire in wires)
    report.most("given_up_after_s", time.monotonic() - began, BODY_S + 2.0)
    report.figures["statuses"] = _named(statuses)
    report.expect(set(statuses) == {HTTPStatus.REQUEST_TIMEOUT}, f"statuses {dict(statuses)}")
    for wire in wires:
        wire.close()


def wild_numbers(bench: Bench, report: Report) -> None:
    """num_items of 0, −1, 10⁹, "10", true, 1e2 and 10⁶ exclusions: strictly refused, at once, without memory."""
    before, slowest = bench.front.memory_mib(), 0.0
    bodies = [b'{"user_id":"a","num_items":%b}' % value for value in WILD]
    bodies.append(orjson.dumps({"user_id": "a", "exclude": ["x"] * 600}))
    bodies.append(orjson.dumps({"user_id": "a", "exclude": ["item"] * 1_000_000}))
    for body in bodies:
        began = time.monotonic()
        status, _ = bench.front.post(body)
        slowest = max(slowest, 1000 * (time.monotonic() - began))
        report.expect(status in (400, 413, 422), f"{status} for {body[:60]!r}")
    for value in (b"0", b"-1", b"1000000000", b"true", b"1e2", b"%31%30x", b""):
        status, _ = _get(bench.front, b"/recommend?user_id=a&num_items=" + value)
        report.expect(status == HTTPStatus.UNPROCESSABLE_ENTITY, f"{status} for num_items={value!r}")
    report.most("slowest_ms", slowest, QUICK_MS)
    report.most("memory_more_mib", bench.front.memory_mib() - before, GROWTH_MIB)
    _alive(bench, report)


def injected_headers(bench: Bench, report: Report) -> None:
    """CR, LF, NUL and 4 KB in ids and headers: refused or replaced; one log line per event, no user text in labels."""
    statuses: Counter[int] = Counter()
    for user in (b"a%0d%0ax-evil:%201", b"a%00b", b"a%0a", b"%7f", b"u" * 4096, b"%e2%80%a8line"):
        status, answer = _get(bench.front, b"/recommend?user_id=" + user)
        statuses[status] += 1
        report.expect(status == HTTPStatus.UNPROCESSABLE_ENTITY, f"{status} for user {user[:20]!r}")
        report.expect(b"x-evil" not in answer, "a header was injected")
    offered = b"a{}; " + SECRET + b" %0d%0a"
    status, answer = _get(bench.front, b"/recommend?user_id=a", b"x-request-id: " + offered + b"\r\n")
    report.expect(status == HTTPStatus.OK and SECRET not in answer, "an unsafe request id was taken over")
    for header in (b"x-request-id: " + b"r" * 4096, b"traceparent: " + b"0" * 4096, b"x-big: " + b"b" * 200_000):
        status, _ = _get(bench.front, b"/recommend?user_id=a", header + b"\r\n")
        statuses[status] += 1
        report.expect(status == HTTPStatus.OK or status in REFUSED or status == 0, f"{status} for {header[:20]!r}")
    report.figures["statuses"] = _named(statuses)
    _one_line_each(bench, report)
    _alive(bench, report)


WILD = (b"0", b"-1", b"1000000000", b'"10"', b"true", b"1e2", b"10.5", b"null", b"[]", b"9" * 5000)
DRILLS = (
    Drill(name="poison-bodies", fault=27, work=poison_bodies),
    Drill(name="slow-bodies", fault=27, work=slow_body),
    Drill(name="wild-numbers", fault=28, work=wild_numbers),
    Drill(name="injected-headers", fault=29, work=injected_headers),
)


def _poison() -> list[bytes]:
    user = b'{"user_id":"' + SECRET + b'",'
    return [
        b"", b"nul", b"[]", b'"' + SECRET + b'"', b"{" + SECRET, user, user + b'"num_items":NaN}',
        user + b'"num_items":1e999}', user + b'"num_items":' + b"9" * 5000 + b"}",
        user + b'"num_items":"' + SECRET + b'"}',
        user + b'"' + SECRET + b'":1}', user + b'"exclude":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"a":' * DEEP + b"1" + b"}" * DEEP, user[:-1] + b"\xff\xfe}", b'{"user_id":"\\ud800"}',
        user + b'"user_id":7}',
        b'{"user_id":{"a":"' + SECRET + b'"}}', b'{"user_id":"' + SECRET * 100 + b'"}', b'{"user_id":"a\\u0000b"}',
        user + b'"exclude":"' + SECRET + b'"}', b" " * 70_000, b'{"user_id":"a"}' + b" " * 70_000, b"\x00" * 100,
    ]  # fmt: skip


def _get(front: Front, path: bytes, headers: bytes = b"") -> tuple[int, bytes]:
    return front.send(b"GET " + path + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + headers + b"\r\n")


def _alive(bench: Bench, report: Report) -> None:
    pid = bench.front.api.pid
    report.expect(
        bench.front.api.alive() and len(bench.front.ask(bench.users(1)[0])["items"]) > 0, "the worker is gone"
    )
    report.figures["worker"] = f"pid {pid} alive"


def _one_line_each(bench: Bench, report: Report) -> None:
    """A user id that tries to end its line is one line of the log; labels of metrics hold no user text."""
    user = 'quote"}\\n{"event":"x'
    answer = bench.front.ask(user)
    line = bench.log_line(answer["request_id"]) or {}
    report.expect(line.get("user_id") == user, "the log line does not hold the user as sent")
    _, metrics = _get(bench.front, b"/metrics")
    report.expect(b"never-seen" not in metrics and b"quote" not in metrics, "user text in a metric")


def _named(statuses: Counter[int]) -> dict[str, int]:
    return {str(status): times for status, times in sorted(statuses.items())}
