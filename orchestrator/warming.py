"""Embeddings of the most active users, made and cached before they ask: hourly, and before a new line takes traffic.

Users come from the list that materialising leaves; a batch of them is one Redis read, one call of the user tower and
one Redis write. In between it rests longer than it worked, so that it is never in the way of requests.
"""

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from pydantic import ValidationError

from feature_repo.recent import recent_key
from feature_repo.rows import active_key, user_key
from feature_repo.vectors import USER_DEFAULTS, Floats
from model_repository.contract import USER_EMBEDDING, USER_TOWER
from model_repository.traffic import TRAFFIC_KEY, ServedRelease, Traffic
from orchestrator.call import Call
from orchestrator.redis_link import Command, Store
from orchestrator.release import embedding_prefix
from orchestrator.stored import latest_token, pack_embedding, parse_row
from orchestrator.triton import Inference

ROWS = USER_TOWER.cpu.max_batch
TIMEOUT_S = 5.0
REST = 3.0  # rests this many times as long as a batch took
SPREAD = 0.1  # of the time to live, so that what was made together does not expire together


class WarmError(Exception):
    """Nothing can be warmed; the message says what is missing and who makes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """What was done for one tower: `users` asked for, `cached` of them; the others have no row."""

    release: int
    tower: str
    users: int
    cached: int


async def warm(
    store: Store, triton: Inference, releases: Iterable[ServedRelease], users: Sequence[str], ttl_s: int
) -> list[Warmed]:
    """Warm each distinct tower once. Raises StageError when Redis or Triton fails; what was cached stays."""
    towers = {embedding_prefix(served): served for served in releases}
    return [await _warm_tower(store, triton, served, users, ttl_s) for served in towers.values()]


async def active_users(store: Store, most: int) -> list[str]:
    """The most active users' ids. Raises WarmError when nobody wrote them down."""
    ((content,),) = await store.execute([("MGET", active_key())], TIMEOUT_S)
    if content is None:
        raise WarmError("Redis holds no list of active users; `python -m training materialize` writes it")
    return [str(user_id) for user_id in orjson.loads(content)[:most]]


async def served_releases(store: Store, release: int | None) -> list[ServedRelease]:
    """Every release of the traffic record, or the one asked for. Raises WarmError."""
    ((content,),) = await store.execute([("MGET", TRAFFIC_KEY)], TIMEOUT_S)
    if content is None:
        raise WarmError("Redis holds no traffic record; `python -m exporters publish` writes it")
    try:
        record = Traffic.model_validate_json(content)
    except ValidationError as error:
        raise WarmError(f"the traffic record cannot be read: {error.error_count()} problems") from None
    if release is None:
        return list(record.releases)
    if (served := record.served(release)) is None:
        raise WarmError(f"release {release} is not loaded; the record holds {sorted(record.listed)}")
    return [served]


async def _warm_tower(
    store: Store, triton: Inference, served: ServedRelease, users: Sequence[str], ttl_s: int
) -> Warmed:
    call = Call(USER_TOWER, served.user_tower, USER_TOWER.outputs, served.triton, rows=ROWS)
    prefix, cached = embedding_prefix(served), 0
    for start in range(0, len(users), ROWS):
        began = time.monotonic()
        cached += await _warm_batch(store, triton, call, prefix, users[start : start + ROWS], ttl_s)
        await asyncio.sleep(REST * (time.monotonic() - began))
    return Warmed(release=served.release, tower=served.tower_digest, users=len(users), cached=cached)


async def _warm_batch(
    store: Store, triton: Inference, call: Call, prefix: str, users: Sequence[str], ttl_s: int
) -> int:
    acted: list[Command] = [("LRANGE", recent_key(user), 0, 0) for user in users]
    packed, *actions = await store.execute([("MGET", *map(user_key, users)), *acted], TIMEOUT_S)
    tokens = dict(zip(users, map(latest_token, actions), strict=True))
    rows = {user: row.values for user, content in zip(users, packed, strict=True) if (row := parse_row(content))}
    if not rows:
        return 0
    arrays = await triton.infer(call, (_padded(list(rows.values())),), TIMEOUT_S)
    embeddings = arrays[USER_EMBEDDING.name]
    commands: list[Command] = [
        ("SET", prefix + user, pack_embedding(embedding, tokens[user]), "EX", _ttl(ttl_s))
        for user, embedding in zip(rows, embeddings, strict=False)
        if np.isfinite(embedding).all()
    ]
    await store.execute(commands, TIMEOUT_S)
    return len(commands)


def _ttl(seconds: int) -> int:
    return int(seconds * random.uniform(1, 1 + SPREAD))


def _padded(rows: Sequence[Floats]) -> Floats:
    """[ROWS, USER_WIDTH]: a call has one shape."""
    return np.stack([*rows, *[USER_DEFAULTS] * (ROWS - len(rows))])
