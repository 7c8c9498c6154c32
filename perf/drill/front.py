"""One orchestrator under test: asked, loaded, and looked into from outside."""

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.runtime import ApiServer
from perf.drill.load import Load
from perf.errors import PerfError
from perf.load import Target
from perf.load.answer import UNDEGRADED
from perf.memory import pss_mib

K = 20
RATE = 40.0
TIMEOUT_S = 5.0
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Front:
    """A running API."""

    api: ApiServer

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.api.settings.host, self.api.settings.api_port

    def target(self, users: Sequence[str], **changes: Any) -> Target:
        """For `perf.load`."""
        host, port = self.address
        return Target(host=host, port=port, users=users, **({"items": K, "timeout_s": TIMEOUT_S} | changes))

    def load(self, users: Sequence[str], rate: float = RATE) -> Load:
        """Open-loop load on these users until the block ends."""
        return Load(self.target(users), rate)

    def ask(self, user_id: str, num_items: int = K, **more: object) -> Json:
        """The parsed answer. Raises PerfError unless it is a 200."""
        answer = httpx.post(
            f"{self.api.url}/v1/recommend", json={"user_id": user_id, "num_items": num_items, **more}, timeout=TIMEOUT_S
        )
        if answer.status_code != httpx.codes.OK:
            raise PerfError(f"{answer.status_code} for {user_id}: {answer.text[:200]}")
        body: Json = answer.json()
        return body

    def until_full(self, users: Sequence[str], seconds: float, streak: int = 5) -> float:
        """Seconds until so many answers in a row are undegraded; infinity if they never are within `seconds`."""
        began, row = time.monotonic(), 0
        for user in users:
            row = row + 1 if level(self.ask(user)) in UNDEGRADED else 0
            if row == streak:
                return time.monotonic() - began
            if time.monotonic() - began > seconds:
                break
            time.sleep(0.05)
        return float("inf")

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of that name that carry these labels."""
        text = httpx.get(f"{self.api.url}/metrics", timeout=TIMEOUT_S).text
        return sample(text, name, **labels)

    def sockets(self) -> int:
        """Open file descriptors."""
        return len(list(Path(f"/proc/{self.api.pid}/fd").iterdir()))

    def threads(self) -> int:
        """Threads of the process."""
        return len(list(Path(f"/proc/{self.api.pid}/task").iterdir()))

    def memory_mib(self) -> float:
        """Proportional set size."""
        return pss_mib(self.api.pid)

    def send(self, data: bytes, seconds: float = TIMEOUT_S) -> tuple[int, bytes]:
        """Status and everything that comes back for raw bytes; status 0 when the connection is just ended."""
        with socket.create_connection(self.address, timeout=seconds) as wire:
            with suppress(ConnectionError):  # refused before all of it was sent
                wire.sendall(data)
            return read_answer(wire)

    def post(self, body: bytes, content_type: bytes = b"application/json", extra: bytes = b"") -> tuple[int, bytes]:
        """`send` of a whole POST of this body."""
        head = b"POST /v1/recommend HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: " + content_type
        return self.send(head + b"\r\ncontent-length: " + str(len(body)).encode() + extra + b"\r\n\r\n" + body)


def level(answer: Json) -> str:
    """The rung, `none` for the full path."""
    return str((answer["degraded"] or {"level": "none"})["level"])


def reasons(answer: Json) -> list[str]:
    """Why it is degraded."""
    return list((answer["degraded"] or {}).get("reasons", ()))


def item_ids(answer: Json) -> list[str]:
    """Ids in order."""
    return [item["item_id"] for item in answer["items"]]


def read_answer(wire: socket.socket) -> tuple[int, bytes]:
    """Status and all bytes until the peer closes, the answer is whole or it takes too long."""
    received = b""
    with suppress(TimeoutError, ConnectionError):
        while (more := wire.recv(1 << 16)) and not _whole(received := received + more):
            pass
    words = received.split(b" ", 2)
    return (int(words[1]) if len(words) > 1 and words[1].isdigit() else 0), received


def _whole(received: bytes) -> bool:
    head, gap, body = received.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(gap) and bool(lengths) and len(body) >= int(lengths[0])


def sample(text: str, name: str, **labels: str) -> float:
    """Sum of a Prometheus text's samples of that name with these labels."""
    return sum(
        found.value
        for family in text_string_to_metric_families(text)
        for found in family.samples
        if found.name == name and all(found.labels.get(key) == value for key, value in labels.items())
    )
