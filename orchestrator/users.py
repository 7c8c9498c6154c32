"""What is known of a user: packed row, cached embedding, what was shown and done lately, in one Redis round trip.

Row missing → Feast (written back packed) → nobody knows the user → the cold user's row. Redis away → the last row
this process saw, with the embedding if the same tower made it, else the cold user's. A broken value in Redis is a miss,
never an error.
"""

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np

from feature_repo.recent import merged, recent_key
from feature_repo.rows import UserRow, pack_user_row, user_key
from feature_repo.schema import HISTORY, SCHEMA, USER_WIDTH
from feature_repo.vectors import NO_HISTORY, Floats, Ints, cold_user
from orchestrator.deadline import Deadline
from orchestrator.errors import BadAnswerError, LateError, StageError
from orchestrator.lru import Lru
from orchestrator.metrics import feature_age, looked_up
from orchestrator.policy import Policy
from orchestrator.redis_link import Command, Reply, Store
from orchestrator.release import Release
from orchestrator.rules import NO_KEYS, Keys
from orchestrator.stored import (
    NO_TOKEN,
    Lately,
    finite,
    pack_embedding,
    parse_depth,
    parse_embedding,
    parse_lately,
    parse_row,
    session_key,
    shown_key,
)
from orchestrator.traffic import TrafficFollower
from orchestrator.writer import Writer

Origin = Literal["stored", "feast", "memory", "cold"]
COUNTRY_COLUMN, LANGUAGE_COLUMN = SCHEMA.offset("user_country"), SCHEMA.offset("user_language")
UNDER_WAY = 3.0  # deadlines after which no answer that began before an event is on its way


class UserRowSource(Protocol):
    """Where a row that is not in Redis may still be found. Its fake is `orchestrator.fakes.FakeRows`."""

    async def user_row(self, user_id: str) -> UserRow | None:
        """The row, or None for an unknown user. Any exception means the source is out of order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a request starts from: row [USER_WIDTH], history [HISTORY]. `reasons`: what was missing by a failure.

    `tower` is the cache prefix of the release that `embedding` belongs to, `token` the user's latest event,
    `depth` the events of the request's session; `shown` holds whatever is not to be recommended now.
    """

    row: Floats
    origin: Origin
    history: Ints = field(default_factory=lambda: NO_HISTORY)
    embedding: Floats | None = None
    tower: str = ""
    token: bytes = NO_TOKEN
    depth: int = 0
    shown: Keys = field(default_factory=lambda: NO_KEYS)
    age_s: float | None = None
    reasons: tuple[str, ...] = ()

    @property
    def country(self) -> int:
        """The country code of the row, 0 unknown."""
        return int(self.row[COUNTRY_COLUMN])

    @property
    def language(self) -> int:
        """The language code of the row, 0 unknown."""
        return int(self.row[LANGUAGE_COLUMN])


class Users:
    """Reads users; writes back what it had to fetch, asynchronously."""

    def __init__(
        self,
        store: Store,
        traffic: TrafficFollower,
        writer: Writer,
        policy: Policy,
        source: UserRowSource | None = None,
    ) -> None:
        self._traffic = traffic
        self._store = store
        self._writer = writer
        self._policy = policy
        self.source = source
        self._memory: Lru[Known] = Lru(policy.known_users)
        self._unknown: Lru[bool] = Lru(policy.known_users, policy.unknown_user_ttl_s)
        self._showed: Lru[Keys] = Lru(policy.known_users, policy.shown.ttl_s)
        self._acted: Lru[bytes] = Lru(policy.known_users, UNDER_WAY * policy.deadline_s)
        self._lookups = asyncio.Semaphore(policy.feast_lookups)

    async def read(
        self, user_id: str, country: str | None, release: Release, deadline: Deadline, session: str | None = None
    ) -> Known:
        """Never fails: what cannot be read is replaced by the next best and named in `reasons`."""
        known = await self._read(user_id, country, release, deadline, session)
        showed = self._showed.get(user_id)  # may not have reached Redis yet
        return known if showed is None else replace(known, shown=np.concatenate([showed, known.shown]))

    def showed(self, user_id: str, items: Keys) -> None:
        """Remember what an answer shows: here at once, in Redis shortly."""
        if len(items) == 0:
            return
        policy, key = self._policy.shown, shown_key(user_id)
        before = self._showed.get(user_id)
        latest = items[::-1] if before is None else np.concatenate([items[::-1], before])
        self._showed.put(user_id, latest[: policy.items].copy())
        entries = [item.tobytes() for item in items[-policy.items :]]
        trim = ("LTRIM", key, 0, policy.items - 1)
        self._writer.command("shown", ("LPUSH", key, *entries), trim, ("EXPIRE", key, policy.ttl_s))

    def acted(self, user_id: str, token: bytes) -> None:
        """An event of the user came in: what is remembered of him is of before."""
        self._memory.drop(user_id)
        self._acted.put(user_id, token)

    async def _read(
        self, user_id: str, country: str | None, release: Release, deadline: Deadline, session: str | None
    ) -> Known:
        keys = [user_key(user_id), release.embedding_prefix + user_id]
        if session is not None:
            keys.append(session_key(user_id, session))
        shown: Command = ("LRANGE", shown_key(user_id), 0, self._policy.shown.items - 1)
        acted: Command = ("LRANGE", recent_key(user_id), 0, self._policy.events.items - 1)
        try:
            timeout = deadline.allow(self._policy.caps.read)
            (packed, cached, *depth), recent, entries = await self._store.execute(
                (("MGET", *keys), shown, acted), timeout
            )
        except StageError as error:
            return self._remembered(user_id, release, country, error)
        lately = parse_lately(recent, entries, time.time(), self._policy.events)
        known = self._stored(packed, cached, lately) or await self._fetched(user_id, country, lately, deadline)
        known = replace(known, tower=release.embedding_prefix, depth=parse_depth(depth[0]) if depth else 0)
        if known.origin != "cold":
            self._remember(user_id, known)
        return known

    def embedded(self, user_id: str, release: Release, known: Known, embedding: Floats) -> None:
        """Keep a fresh embedding for the next request; what was made before the user's latest event is not used."""
        prefix = release.embedding_prefix
        self._remember(user_id, replace(known, embedding=embedding, tower=prefix))
        expiry = ("EX", self._policy.embedding_ttl_s)
        packed = pack_embedding(embedding, known.token)
        self._writer.command("embedding", ("SET", prefix + user_id, packed, *expiry))

    def _remember(self, user_id: str, known: Known) -> None:
        """For when Redis is away, unless it was read before an event that came in since."""
        if self._acted.get(user_id) in (None, known.token):
            self._memory.put(user_id, known)

    def _remembered(self, user_id: str, release: Release, country: str | None, error: StageError) -> Known:
        reason = f"redis_{error.reason}"
        if (known := self._memory.get(user_id)) is not None:
            looked_up("memory", True)
            embedding = known.embedding if known.tower == release.embedding_prefix else None
            return replace(known, origin="memory", embedding=embedding, reasons=(reason,))
        return Known(row=cold_user(country), origin="cold", reasons=(reason,))

    def _stored(self, packed: Reply, cached: Reply, lately: Lately) -> Known | None:
        row = parse_row(packed)
        looked_up("user_row", row is not None)
        if row is None:
            return None
        embedding = parse_embedding(cached, lately.token)
        looked_up("embedding", embedding is not None)
        return self._known(row, "stored", lately, embedding)

    async def _fetched(self, user_id: str, country: str | None, lately: Lately, deadline: Deadline) -> Known:
        nobody = UserRow(values=cold_user(country), history=NO_HISTORY)
        unknown = replace(self._known(nobody, "cold", lately), reasons=self._why_nobody())
        if self.source is None or self._unknown.get(user_id):
            return unknown
        try:
            row = await self._look_up(self.source, user_id, deadline)
        except StageError as error:
            return replace(unknown, reasons=(f"features_{error.reason}",))
        if row is None:
            self._unknown.put(user_id, True)
            return unknown
        if marker := self._traffic.materialized:  # a Feast row that was not written again is still true
            row = replace(row, computed_at=max(row.computed_at, int(marker.as_of)))
        expiry = ("EX", self._policy.written_row_ttl_s, "NX")
        self._writer.command("row", ("SET", user_key(user_id), pack_user_row(row), *expiry))
        return self._known(row, "feast", lately)

    def _known(self, row: UserRow, origin: Origin, lately: Lately, embedding: Floats | None = None) -> Known:
        age, reasons = self._age(row.computed_at)
        return Known(
            row=row.values,
            history=merged(row.history, lately.actions, row.computed_at * 1_000_000),
            origin=origin,
            embedding=embedding,
            token=lately.token,
            shown=lately.shown,
            age_s=age,
            reasons=reasons,
        )

    def _why_nobody(self) -> tuple[str, ...]:
        """An unknown user is normal; everybody unknown, because Redis holds no features at all, is not."""
        return () if self._traffic.materialized else ("features_absent",)

    async def _look_up(self, source: UserRowSource, user_id: str, deadline: Deadline) -> UserRow | None:
        try:
            async with asyncio.timeout(deadline.allow(self._policy.caps.features, self._policy.reserves.embed)):
                async with self._lookups:
                    row = await source.user_row(user_id)
        except TimeoutError:
            raise LateError("feast") from None
        except StageError:
            raise
        except Exception as error:
            raise BadAnswerError(f"feast: {type(error).__name__}") from error
        if row is None:
            return None
        for array, shape, dtype in ((row.values, (USER_WIDTH,), np.float32), (row.history, (HISTORY,), np.int64)):
            if array.shape != shape or array.dtype != dtype:
                raise BadAnswerError(f"feast: array of shape {array.shape}, {array.dtype}")
        return finite(row)

    def _age(self, computed_at: int) -> tuple[float | None, tuple[str, ...]]:
        """Seconds, None when unknown (0), and the reason a row that old gives. A row from the future counts as new."""
        if not computed_at:
            return None, ()
        marker, now = self._traffic.materialized, time.time()
        age = marker.age(computed_at, now) if marker else now - computed_at
        feature_age(age)
        return max(0.0, age), ("stale_features",) if age > self._policy.stale_features_s else ()
