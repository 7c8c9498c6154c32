"""From whatever the workspace holds to an answering API: pipeline, servers, release."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import redis
from rich.console import Console

from deploy.local.errors import PlatformError
from deploy.local.runtime import ApiServer, RedisServer, Stack, TritonServer, WatchdogServer
from deploy.local.steps import LEARNING, MATERIALIZE, PUBLISH, RESTORE, Steps
from deploy.settings import Settings
from feature_repo.rows import marker_key
from feature_repo.schema import SCHEMA


@dataclass(frozen=True, kw_only=True, slots=True)
class Platform:
    """What is up."""

    stack: Stack
    triton: TritonServer
    url: str


@contextmanager
def platform(settings: Settings, console: Console) -> Iterator[Platform]:
    """Redis → what the pipeline lacks → Triton → publish or load → its watchdog, API; everything stops with the block.

    A Triton that ends by itself later is started again by who watches the stack, and filled again by the watchdog.
    """
    store, triton, api = RedisServer(settings), TritonServer(settings), ApiServer(settings)
    watchdog = WatchdogServer(settings)
    with Stack(settings) as stack:
        stack.refuse_occupied(store, triton, watchdog, api)
        steps = Steps(settings, console, stack.check)
        stack.start(store)
        if steps.run_missing(LEARNING, stale=lambda step: step is MATERIALIZE and not materialized(settings)):
            steps.forget(PUBLISH)
        stack.start(triton, kept=True)
        if not steps.run_missing([PUBLISH]):
            steps.run(RESTORE)
        stack.start(watchdog, kept=True)
        stack.start(api)
        yield Platform(stack=stack, triton=triton, url=api.url)


def materialized(settings: Settings) -> bool:
    """Whether Redis holds the user features of this schema (false after its data was removed)."""
    with redis.Redis.from_url(settings.redis_url, socket_timeout=5.0) as store:
        return bool(store.exists(marker_key()))


def known_users(settings: Settings, count: int) -> list[str]:
    """`count` users that have features, always the same ones of the same data."""
    prefix = f"user:{SCHEMA.hash}:"
    with redis.Redis.from_url(settings.redis_url, socket_timeout=5.0, decode_responses=True) as store:
        found = sorted(islice(store.scan_iter(f"{prefix}*", count=1000), 20_000))
    if not found:
        raise PlatformError(f"Redis holds no user features ({prefix}*); run `python -m training materialize`")
    return [key.removeprefix(prefix) for key in found[:: max(1, len(found) // count)][:count]]


def greeting(url: str, user_id: str) -> str:
    """What to do with the running platform."""
    return (
        f"Trident answers on [bold]{url}[/] (documentation: {url}/docs)\n"
        f"  curl '{url}/recommend?user_id={user_id}&num_items=10'\n"
        "Ctrl-C stops everything."
    )
