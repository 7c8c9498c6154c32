"""The whole path's figures from known turns, and CPU time of a server that is known to be busy."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from perf.compare.plan import STAGES, Plan
from perf.compare.report import markdown, plot, tables
from perf.compare.servers import Contestant, Turn, full_rate
from perf.compare.whole_path import best_clients, summary
from perf.load import Outcome, Target
from perf.load.answer import Answer
from tests.ports import free_port

BURN_MS = 5
SERVER = f"""
import json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        ends = time.thread_time() + {BURN_MS / 1000}
        while time.thread_time() < ends:
            pass
        body = json.dumps({{"model_version": "1", "degraded": None}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("up", flush=True)
server.serve_forever()
"""


def turn(rate: float, cpu_ms: float = 1.0, less: float = 0.0) -> Turn:
    return Turn(rate=rate, cpu_ms={"redis": 0.5, "server": cpu_ms}, generator_ms=0.25, less_than_full=less)


TURNS = {
    "trident": [turn(600.0, 3.0), turn(300.0, 4.0), turn(660.0, 5.0, less=0.01)],
    "naive": [turn(10.0), turn(5.0), turn(12.0)],
    "monolith": [turn(500.0), turn(250.0), turn(600.0)],
    "monolith-lightgbm": [turn(200.0), turn(100.0), turn(210.0)],
}


def outcome(done_s: list[float], answers: list[Answer], answer: list[int], seconds: float) -> Outcome:
    zeros = np.zeros(len(done_s))
    return Outcome(
        seconds=seconds, intended_s=zeros, started_s=zeros, sent_s=zeros, done_s=np.array(done_s),
        user=np.zeros(len(done_s), np.int64), answer=np.array(answer, np.int16), answers=tuple(answers),
        answered_per_second=0.0, waited=0, generator_cpu_ms=0.0,
    )  # fmt: skip


def test_rates_and_ratios_of_known_turns() -> None:
    figures = summary(TURNS)
    assert figures["trident_rps"] == 600.0
    assert figures["monolith_lightgbm_rps"] == 200.0
    assert (figures["ratio_naive"], figures["ratio_monolith"], figures["ratio_monolith_lightgbm"]) == (60.0, 1.2, 3.0)
    assert figures["spread"]["ratio_monolith"] == [1.2, 1.1, 1.2]  # type: ignore[index]
    assert figures["less_than_full"]["trident"] == 0.01  # type: ignore[index]


def test_cpu_is_by_role_and_the_generators_is_apart() -> None:
    cpu = summary(TURNS)["cpu_ms_per_request"]["trident"]  # type: ignore[index]
    assert cpu == {"redis": 0.5, "server": 4.0, "total": 4.5, "generator": 0.25}


def test_only_full_answers_inside_the_window_count() -> None:
    answers = [Answer("200", "1", "none"), Answer("200", "1", "L4"), Answer("429"), Answer("200", "1", "L0")]
    done = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.2]
    ran = outcome(done, answers, [0, 0, 1, 2, 3, 0, 0], seconds=4.0)
    assert full_rate(ran, skip_s=1.0) == pytest.approx(3 / 3.0)  # at 1.0, 2.5 and 3.0


def test_the_number_of_clients_is_the_one_that_gets_most() -> None:
    class Known:
        def turn(self, clients: int, seconds: float) -> Turn:
            return turn({4: 90.0, 8: 120.0, 16: 100.0}[clients])

    assert best_clients(Known(), (4, 8, 16)) == 8  # type: ignore[arg-type]


@contextmanager
def busy_server(port: int) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def test_cpu_per_request_of_a_server_that_burns_a_known_time() -> None:
    port = free_port()
    with busy_server(port) as pid:
        contestant = Contestant(
            name="busy", target=Target(host="127.0.0.1", port=port, users=["a", "b"]),
            pids=lambda: {"server": [pid], "us": [os.getpid()]},
        )  # fmt: skip
        took = contestant.turn(clients=2, seconds=2.0)
    assert took.less_than_full == 0.0
    assert BURN_MS * 0.9 <= took.cpu_ms["server"] <= BURN_MS * 3  # what HTTP itself costs comes on top
    assert took.cpu_ms["us"] < took.cpu_ms["server"]
    assert 0 < took.rate <= 1000 / BURN_MS  # threads of one interpreter


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"stages": ("ranking",)}, "unknown stages"), ({"rounds": 0}, "at least 1"), ({"load": 1.0}, "between 0 and 1")],
)
def test_a_plan_that_cannot_be_run_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Plan(**wrong)  # type: ignore[arg-type]


def document() -> dict[str, object]:
    latency = {"trident": {"latency_ms": {"p99": 12.5}}}
    speeds = {"ours": 0.5, "theirs": 2.0, "speedup": {"theirs": [4.0, 3.5, 4.5]}}
    samples = {"ours": [0.4, 0.5, 0.6], "theirs": [1.9, 2.0, 2.1]}
    index = {"items": 9, "recall_at_500": 0.96, "qps": 100.0}
    return {
        "catalogue": {"items": 9, "candidates": 500},
        "whole_path": summary(TURNS) | {"open_loop": latency},
        "ranker": speeds | {"served": "ours", "samples": samples, "missing": {"gone": "no compiler"}},
        "item_features": {"resident": 0.1, "feast": 100.0, "speedup": {"feast": [1000.0, 900.0, 1100.0]},
                          "samples": {"feast": [100.0], "resident": [0.1]}},
        "triton_call": {"ours": "http2", "http2": 0.1, "grpc.aio": 0.3, "speedup": {"grpc.aio": [3.0, 2.9, 3.1]},
                        "samples": {"grpc.aio": [0.3], "http2": [0.1]}},
        "retrieval": index | {"index": "ivf", "k": 500, "peers": {"flat": index},
                              "samples": {"served": [100.0], "flat": [50.0]}},
        "scale": {"items": 9, "saturation": 600.0, "knee": 550.0, "rate": 330.0, "p50_ms": 5.0, "p99_ms": 15.04,
                  "control_ms": {"p50": 0.2, "p99": 1.5}},
    }  # fmt: skip


def test_the_report_names_everybody_with_the_spread_and_what_is_missing() -> None:
    text = markdown(document())
    assert len(tables(document())) == len(STAGES)
    assert "| monolith | 500.0 | 1.2 (1.1–1.2) | 1.5 |" in text
    assert "| trident | 600.0 |  | 4.5 | 12.5 | 1.00 % |" in text
    assert "| gone | – | no compiler |" in text
    assert "| served (ivf) | 9 | 0.96 | 100.0 |" in text
    assert "| 9 | 600 | 550 | 330 | 5.0 | 15.0 | 3.0 | 0.20, 1.50 |" in text


def test_the_report_leaves_out_what_was_not_measured() -> None:
    only = {name: part for name, part in document().items() if name in ("catalogue", "ranker")}
    assert list(tables(only)) == ["Ranker, one request"]


def test_the_picture_has_a_panel_for_each_stage(tmp_path: Path) -> None:
    plot(document(), tmp_path / "all.png")
    plot({"ranker": document()["ranker"]}, tmp_path / "one.png")
    heads = [(tmp_path / name).read_bytes()[:24] for name in ("all.png", "one.png")]
    widths = [int.from_bytes(head[16:20], "big") for head in heads]
    assert widths[0] == 5 * widths[1]
