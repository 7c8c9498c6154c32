"""`POST /v1/events`: what users did, stored once, and in effect before the answer.

Two round trips. The first claims the ids, each for whoever comes first, and reads what attribution needs. The second is
a transaction: confirm the ids, add to the event log and to the user's latest actions, count the session, drop the
cached embeddings. Redis away in between costs nothing: a claim that was not confirmed ends soon, the client was told to
send again, and what had been confirmed is then a duplicate.
"""

import os
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import orjson

from feature_repo.recent import Action, pack_action, recent_key, unpack_actions
from feature_repo.served import EVENT_TYPES, EVENTS
from feature_repo.vectors import item_key
from orchestrator.attribution import PURCHASE, Before
from orchestrator.errors import BadAnswerError, FieldProblem, InvalidError, NotStoredError, StageError
from orchestrator.event_schemas import Event, EventsRequest
from orchestrator.impression_log import stream_entry
from orchestrator.inbound import MOST_PROBLEMS
from orchestrator.items import Items
from orchestrator.limit import Limit
from orchestrator.metrics import EVENTS as TAKEN
from orchestrator.metrics import child
from orchestrator.outcomes import OUTCOMES
from orchestrator.policy import EventPolicy, Policy
from orchestrator.redis_link import Command, Reply, Store
from orchestrator.stored import TOKEN, parse_shown, session_key, shown_key
from orchestrator.traffic import TrafficFollower
from orchestrator.users import Users

CONFIRMED = b"1"


@dataclass(frozen=True, slots=True)
class Deed:
    """An event as it is stored: the key of its id, unix second it happened at, the packed action's parts."""

    event: Event
    seen: bytes
    at: float
    action: Action

    @property
    def token(self) -> bytes:
        """What an embedding made after this event carries, as long as there is no later one."""
        return pack_action(self.action)[TOKEN]

    @classmethod
    def of(cls, event: Event, now: float) -> "Deed":
        """An event that came in now."""
        at = now if event.at is None else event.at
        digest = blake2b(f"{event.user_id}\0{event.event_id}".encode(), digest_size=16).digest()
        key, number = item_key(event.item_id), int.from_bytes(digest[:8], "little")
        return cls(
            event, b"seen:" + digest, at, Action(round(at * 1e6), key, number, EVENT_TYPES.index(event.event_type))
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """Which deeds are ours to write, whether somebody else is writing some, and the users before."""

    ours: list[Deed]
    elsewhere: bool
    before: dict[str, Before]


class Events:
    """Takes batches; a bounded number at a time."""

    def __init__(self, store: Store, traffic: TrafficFollower, users: Users, items: Items, policy: Policy) -> None:
        self._store = store
        self._traffic = traffic
        self._users = users
        self._items = items
        self._policy = policy.events
        self._shown_items = policy.shown.items
        self._limit = Limit(policy.events.max_in_flight)
        self._instance = uuid.uuid4().hex[:12]
        self._numbered = 0

    async def take(self, request: EventsRequest, request_id: str) -> bytes:
        """The answer's JSON. Raises InvalidError, OverloadedError, NotStoredError (send it again)."""
        del request_id
        with self._limit:
            now = time.time()
            require_recent(request.events, now, self._policy)
            deeds = distinct(Deed.of(event, now) for event in request.events)
            try:
                claim = await self._claim(deeds, now)
                for start in range(0, len(claim.ours), self._policy.chunk):
                    await self._write(claim.ours[start : start + self._policy.chunk], claim.before, now)
            except StageError as error:
                raise NotStoredError from error
        if claim.elsewhere:
            raise NotStoredError
        accepted = {id(deed.event) for deed in claim.ours}
        for event in request.events:
            if id(event) not in accepted:
                child(TAKEN, event.event_type, "duplicate").inc()
        return orjson.dumps({"accepted": len(accepted), "duplicates": len(request.events) - len(accepted)})

    async def _claim(self, deeds: Sequence[Deed], now: float) -> Claim:
        token, users = os.urandom(8), list(dict.fromkeys(deed.event.user_id for deed in deeds))
        expiry = ("NX", "EX", self._policy.claim_s)
        commands: list[Command] = [("SET", deed.seen, token, *expiry) for deed in deeds]
        commands.append(("MGET", *(deed.seen for deed in deeds)))
        for user in users:
            commands.append(("LRANGE", recent_key(user), 0, self._policy.items - 1))
            commands.append(("LRANGE", shown_key(user), 0, self._shown_items - 1))
        holders, *lists = (await self._store.execute(commands, self._policy.timeout_s))[len(deeds) :]
        since = round((now - self._policy.hidden_s) * 1e6)
        before = {
            user: Before(parse_shown(shown), unpack_actions(recent), since)
            for user, recent, shown in zip(users, lists[::2], lists[1::2], strict=True)
        }
        ours = [deed for deed, holder in zip(deeds, holders, strict=True) if holder == token]
        return Claim(ours, any(holder not in (token, CONFIRMED) for holder in holders), before)

    async def _write(self, deeds: Sequence[Deed], before: dict[str, Before], now: float) -> None:
        commands: list[Command] = [("MULTI",)]
        for deed in deeds:
            commands.append(("SET", deed.seen, CONFIRMED, "EX", self._policy.seen_s))
            commands.append(stream_entry(EVENTS, self._line(deed, now), self._policy.stream))
        for user, actions in by_user(deeds).items():
            commands.extend(self._effects(user, actions))
            self._users.acted(user, actions[-1].token)
        commands.extend(self._sessions(deeds))
        replies: list[Reply] = await self._store.execute([*commands, ("EXEC",)], self._policy.timeout_s)
        if any(isinstance(reply, Exception) for reply in replies[-1] or [BadAnswerError()]):
            await self._store.execute([("DEL", *(deed.seen for deed in deeds))], self._policy.timeout_s)
            raise BadAnswerError("redis: a transaction of events did not succeed")
        for deed in deeds:
            self._count(deed, before[deed.event.user_id])

    def _line(self, deed: Deed, now: float) -> bytes:
        """The event as the log holds it."""
        self._numbered += 1
        said = deed.event.model_dump()
        return orjson.dumps(
            said | {"at": deed.at, "received_at": now, "instance": self._instance, "seq": self._numbered}
        )

    def _effects(self, user: str, deeds: Sequence[Deed]) -> Iterable[Command]:
        """The user's latest actions grow; embeddings of every release that carries traffic go."""
        key, plan = recent_key(user), self._traffic.plan
        yield ("LPUSH", key, *(pack_action(deed.action) for deed in deeds))
        yield ("LTRIM", key, 0, self._policy.items - 1)
        yield ("EXPIRE", key, self._policy.ttl_s)
        if plan is not None:
            yield ("DEL", *{release.embedding_prefix + user for release in plan.releases.values()})

    def _sessions(self, deeds: Sequence[Deed]) -> Iterable[Command]:
        for deed in deeds:
            if deed.event.session_id is not None:
                key = session_key(deed.event.user_id, deed.event.session_id)
                yield ("INCR", key)
                yield ("EXPIRE", key, self._policy.session_s)

    def _count(self, deed: Deed, before: Before) -> None:
        """Figures by the arm of the user, never by what the client says of it."""
        price = self._price(deed) if deed.action.kind == PURCHASE else 0.0
        count = before.count(deed.event, deed.action, price)
        child(TAKEN, deed.event.event_type, "other" if count is None else "attributed").inc()
        if count is not None and (plan := self._traffic.plan) is not None:
            arm = plan.assign(deed.event.user_id)
            OUTCOMES.add(str(arm.release.number), arm.variant, count)

    def _price(self, deed: Deed) -> float:
        """The event's; else the catalogue's, where this process has it in memory; else 0."""
        if deed.event.price is not None:
            return deed.event.price
        known = orjson.loads(orjson.dumps(self._items.kept(deed.event.item_id))).get("price")
        return float(known) if isinstance(known, int | float) else 0.0


def distinct(deeds: Iterable[Deed]) -> list[Deed]:
    """The first of each id."""
    first: dict[bytes, Deed] = {}
    for deed in deeds:
        first.setdefault(deed.seen, deed)
    return list(first.values())


def by_user(deeds: Iterable[Deed]) -> dict[str, list[Deed]]:
    """Each user's, in order."""
    users: dict[str, list[Deed]] = {}
    for deed in deeds:
        users.setdefault(deed.event.user_id, []).append(deed)
    return users


def require_recent(events: Sequence[Event], now: float, policy: EventPolicy) -> None:
    """Raises InvalidError naming the events from too far ahead or too long ago."""
    oldest, newest = now - policy.past_s, now + policy.future_s
    wrong = [n for n, event in enumerate(events) if event.at is not None and not oldest <= event.at <= newest]
    if wrong:
        problem = f"must lie between {policy.past_s:g} s ago and {policy.future_s:g} s ahead"
        fields = tuple(FieldProblem(f"events.{n}.at", problem) for n in wrong[:MOST_PROBLEMS])
        raise InvalidError("invalid input", fields)
