"""What the drills share: one stack, its users, a second orchestrator whose Redis can be broken, and ways to break."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import cast

import httpx
import orjson
from pydantic import SecretStr
from redis import Redis

from deploy.local.processes.ports import free_port
from deploy.local.runtime import ApiServer
from deploy.settings import Settings
from exporters.server import Server
from exporters.traffic import TrafficStore
from feature_repo.served import FIELD, IMPRESSIONS
from feature_repo.store import connect
from model_repository.traffic import ServedModel, ServedRelease
from perf.analyze.statistics import reader
from perf.drill.front import TIMEOUT_S, Front, Json, sample
from perf.drill.proxy import TcpProxy, tcp_proxy
from perf.errors import PerfError
from perf.stack import Serving, serving
from perf.users import batches, packed_rows, user_id

USERS = 20_000
RECOVERY_S = 10.0
BACK_S = 60.0  # for Triton to start and load
ADMIN_KEY = "of-the-drills-only"
SPILL = "impressions.jsonl"
LOGGED = 5_000  # of the latest impressions are looked at
SPARE = 60  # users to find out with that everything is well again


@dataclass(slots=True)
class Bench:
    """A stack to break. Whoever breaks something repairs it before the drill ends."""

    serving: Serving
    front: Front
    redis: Redis
    _open: ExitStack
    _users: Iterator[str] = field(default_factory=lambda: map(user_id, range(USERS)))
    _behind: tuple[Front, TcpProxy] | None = None

    @property
    def settings(self) -> Settings:
        """Of the stack."""
        return self.serving.settings

    def users(self, count: int) -> list[str]:
        """Users that no drill has asked for yet. Raises PerfError when they are used up."""
        found = list(islice(self._users, count))
        if len(found) < count:
            raise PerfError(f"the drills have only {USERS} users")
        return found

    def behind_proxy(self) -> tuple[Front, TcpProxy]:
        """A second orchestrator, whose connections to Redis go through the proxy; started once."""
        if self._behind is None:
            proxy = self._open.enter_context(tcp_proxy(self.settings.redis_port))
            changes = {"redis_port": proxy.port, "api_port": free_port(self.settings.host)}
            api = ApiServer(self.settings.model_copy(update=changes))
            api.name = "api-behind-proxy"
            self._behind = Front(self._open.enter_context(api)), proxy
        return self._behind

    def recover(self) -> float:
        """Seconds until the path is whole again, for whoever runs next. Raises PerfError after a while."""
        fronts = [self.front] if self._behind is None else [self.front, self._behind[0]]
        took = max(front.until_full(self.users(SPARE), RECOVERY_S) for front in fronts)
        if took == float("inf"):
            raise PerfError(f"the path is not whole {RECOVERY_S:.0f} s after a drill")
        return took

    def stubs(self, model: str) -> list[int]:
        """Process ids of a model's python stubs."""
        return self.serving.pids().get(model, [])

    def signal_stubs(self, model: str, number: signal.Signals) -> list[int]:
        """Send a signal to every stub of the model; their ids. Raises PerfError when there is none."""
        pids = self.stubs(model)
        if not pids:
            raise PerfError(f"{model} has no stub process")
        for pid in pids:
            os.kill(pid, number)
        return pids

    @contextmanager
    def hung(self, model: str) -> Iterator[None]:
        """The model's stubs stand still inside the block."""
        pids = self.signal_stubs(model, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextmanager
    def unloaded(self, *models: str) -> Iterator[None]:
        """The models are gone from Triton inside the block."""
        server = Server(self.settings.triton_url)
        for model in models:
            server.unload(model)
        try:
            yield
        finally:
            for model in reversed(models):
                server.load(model)

    @property
    def deaths(self) -> int:
        """How often Triton ended by itself and was started again."""
        return self.serving.stack.restarts(self.serving.triton)

    def restart_triton(self) -> float:
        """Stop Triton and start it; seconds until the watchdog has loaded what the record lists."""
        began = time.monotonic()
        self.serving.stack.restart(self.serving.triton)
        self.await_models()
        return time.monotonic() - began

    def await_models(self, seconds: float = BACK_S) -> None:
        """Wait until Triton has the release that answers. Raises ServerError."""
        served = self.served()
        for name, version in (served.user_tower, served.candidates, served.recommend):
            Server(self.settings.triton_url).wait(name, version, seconds)

    def reloads(self, model: str) -> float:
        """How often the watchdog loaded the model again."""
        s = self.settings
        text = httpx.get(f"http://{s.host}:{s.watchdog_port}/metrics", timeout=TIMEOUT_S).text
        return sample(text, "watchdog_reloads_total", model=model, outcome="done")

    def served(self) -> ServedRelease:
        """The release that answers, as the record names it."""
        traffic = TrafficStore(self.settings).require()
        (found,) = [served for served in traffic.releases if served.release in traffic.carried]
        return found

    def inferences(self, model: ServedModel) -> int:
        """Calls of a model version so far, by Triton's own counters, failed ones included."""
        counters = reader(self.settings.triton_url)([model])[model]
        return counters.success + counters.fail

    def log_line(self, request_id: str, seconds: float = 3.0) -> Json | None:
        """The impression of a request, waiting for it a while."""
        return self.log_lines({request_id}, seconds).get(request_id)

    def log_lines(self, request_ids: set[str], seconds: float = 3.0) -> dict[str, Json]:
        """Impressions by request id, those that were logged in time."""
        ends = time.monotonic() + seconds
        while True:
            entries = cast(list[tuple[bytes, dict[bytes, bytes]]], self.redis.xrevrange(IMPRESSIONS, count=LOGGED))
            logged = [orjson.loads(entry[FIELD]) for _, entry in entries]
            found = {one["request_id"]: one for one in logged if one.get("request_id") in request_ids}
            if len(found) == len(request_ids) or time.monotonic() > ends:
                return found
            time.sleep(0.1)

    @property
    def spill(self) -> Path:
        """The file that the impression log goes to while Redis takes nothing."""
        return self.settings.logs / SPILL


def _as_new(store: Redis, settings: Settings) -> None:
    """Forget what an earlier run did to the users: lists and caches go, rows are written again."""
    for key in store.scan_iter(f"*:{user_id(0).partition('-')[0]}-*", count=10_000):
        store.unlink(key)
    for batch in batches(packed_rows(settings), USERS):
        store.mset(batch)


@contextmanager
def bench(settings: Settings) -> Iterator[Bench]:
    """A stack on the workspace's newest release with made-up users; stopped with the block."""
    settings = settings.model_copy(update={"admin_key": SecretStr(ADMIN_KEY)})
    with serving(settings, users=USERS, watched=True) as run, ExitStack() as opened:
        store = opened.enter_context(connect(settings))
        _as_new(store, settings)
        yield Bench(run, Front(run.api), store, opened)
