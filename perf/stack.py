"""A whole stack for one measurement: Redis, Triton with the workspace's newest release, users, the API.

Started in order, stopped in reverse however the block ends. The workspace is locked and occupied ports are refused, as
for `make serve`.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import PlatformError
from deploy.local.runtime import ApiServer, RedisServer, Stack, TritonServer, WatchdogServer
from deploy.settings import Settings
from exporters.manifest import release_numbers
from exporters.publish import publish, published, restore
from exporters.rollout import promoted
from exporters.shift import shift
from exporters.traffic import TrafficStore
from perf.console import console
from perf.errors import PerfError
from perf.memory import tree
from perf.users import write_users

STUB = "triton_python_backend_stub"


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """A running stack. Where it had to be published: the golden figures, and the seconds of each step."""

    settings: Settings
    stack: Stack
    redis: RedisServer
    triton: TritonServer
    api: ApiServer
    golden: dict[str, float]
    steps_s: dict[str, float]

    @property
    def url(self) -> str:
        """Where the API answers."""
        return self.api.url

    def pids(self) -> dict[str, list[int]]:
        """Process ids by role: redis, orchestrator, triton (the server itself) and each model's python stub."""
        roles = {"redis": tree(self.redis.pid), "orchestrator": tree(self.api.pid), "triton": [self.triton.pid]}
        for pid in tree(self.triton.pid)[1:]:
            roles.setdefault(_model_of(pid) or "triton", []).append(pid)
        return roles


@contextmanager
def serving(settings: Settings, cores: int | None = None, users: int = 0, watched: bool = False) -> Iterator[Serving]:
    """Serve the newest release of the workspace, the only traffic. Raises PerfError.

    `cores` bounds the whole stack to that many CPUs; `users` made-up users (`perf.users.user_id`) with real rows are
    written beside the workspace's own. `watched`: as `make serve`, Triton has its watchdog and is started again when it
    ends by itself.
    """
    redis, triton, api = RedisServer(settings), TritonServer(settings), ApiServer(settings)
    watchdogs = [WatchdogServer(settings)] if watched else []
    with _one_line(), Stack(settings) as stack:
        stack.refuse_occupied(redis, triton, api, *watchdogs)
        with _confined(cores):
            stack.start(redis)
            write_users(settings, users)
            stack.start(triton, kept=watched)
            clock = _Clock()
            golden = _serve_newest(settings, clock)
            for watchdog in watchdogs:
                stack.start(watchdog, kept=True)
            stack.start(api)
        run = Serving(
            settings=settings, stack=stack, redis=redis, triton=triton, api=api, golden=golden, steps_s=clock.seconds()
        )
        with stack.attended() if watched else nullcontext():
            yield run


class _Clock:
    """A report of steps that remembers when each began."""

    def __init__(self) -> None:
        self._began: list[tuple[str, float]] = []

    def __call__(self, step: str) -> None:
        console.print(f"  [dim]{step}[/dim]")
        self._began.append((step, time.monotonic()))

    def seconds(self) -> dict[str, float]:
        """Of each step, the last one until now."""
        ends = [at for _, at in self._began[1:]] + [time.monotonic()]
        return {step: round(end - at, 2) for (step, at), end in zip(self._began, ends, strict=True)}


def _serve_newest(settings: Settings, clock: _Clock) -> dict[str, float]:
    numbers = release_numbers(settings.releases)
    if not numbers:
        raise PerfError(f"{settings.workspace} has no release; make one with `python -m perf catalogue`")
    golden = {}
    if numbers[-1] in published(settings):
        clock("load on Triton")
        restore(settings)
    else:
        golden = publish(settings, numbers[-1], clock)
    if TrafficStore(settings).require().carried != {numbers[-1]}:
        shift(settings, lambda before: promoted(before, numbers[-1], "measured"))
    return golden


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except PlatformError as error:
        raise PerfError(str(error)) from None


@contextmanager
def _confined(cores: int | None) -> Iterator[None]:
    """Children started inside the block inherit the affinity; this process gets its own back."""
    before = os.sched_getaffinity(0)
    if cores is not None and not 1 <= cores <= len(before):
        raise PerfError(f"--cores is {cores}, this process may use 1 to {len(before)}")
    os.sched_setaffinity(0, sorted(before)[: cores or len(before)])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _model_of(pid: int) -> str | None:
    """The model a python stub serves, from its instance's name (`<model>_<group>_<number>`) on the command line."""
    try:
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    if not words[0].endswith(STUB.encode()):
        return None
    return next((w.decode().rsplit("_", 2)[0] for w in words[3:] if w.count(b"_") >= 2 and b"/" not in w), None)
