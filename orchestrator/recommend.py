"""One request, as the architecture draws it: admit → read → embed → recommend → rules → respond → log."""

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson

from feature_repo.context import RequestContext, context_array
from feature_repo.schema import SCHEMA, country_code
from feature_repo.vectors import cold_user, item_key
from model_repository.contract import OBJECTIVES
from orchestrator import rules
from orchestrator.deadline import Deadline
from orchestrator.errors import LateError, UnknownModelError
from orchestrator.items import Items, Metadata
from orchestrator.ladder import Ask, Found, Ladder, Level
from orchestrator.limit import Limit
from orchestrator.metrics import DEGRADED, LATENCY, child
from orchestrator.policy import Policy
from orchestrator.schemas import RecommendRequest
from orchestrator.tallies import TALLIES
from orchestrator.traffic import Assignment, TrafficFollower
from orchestrator.users import Known, Users
from orchestrator.watch import Watch
from orchestrator.withdrawn import WithdrawnFollower
from orchestrator.writer import Writer

DIGITS = 6  # of scores in the answer
NO_VARIANT = "none"
UNRANKED: frozenset[Level] = frozenset({"L2", "L4"})
CONTEXT_COUNTRY, CONTEXT_LANGUAGE = SCHEMA.offset("context_country"), SCHEMA.offset("context_language")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The rows that will be shown, and the order's scores: rows [m], scores [n]."""

    found: Found
    rows: rules.Rows
    scores: rules.Floats


@dataclass(slots=True, kw_only=True)
class Recommender:
    """Everything a request touches."""

    policy: Policy
    limit: Limit
    traffic: TrafficFollower
    users: Users
    ladder: Ladder
    items: Items
    writer: Writer
    withdrawn: WithdrawnFollower

    async def recommend(self, request: RecommendRequest, request_id: str) -> bytes:
        """The answer's JSON. Raises OverloadedError, NothingStandsError; any other failure is a lower rung."""
        with self.limit:
            ask = self._admit(request)
            try:
                return await self._answered(request, request_id, ask)
            except Exception:
                failed(ask)
                raise

    async def _answered(self, request: RecommendRequest, request_id: str, ask: Ask) -> bytes:
        variant, known, found = await self._find(request, ask)
        with ask.watch.stage("rules"):
            chosen = self._choose(request, known, found)
        with ask.watch.stage("respond"):
            items = await self._show(chosen, ask)
        body = self._answer(request, request_id, ask, variant, chosen, items)
        self._log(request, ask, known, chosen, body)
        return orjson.dumps(body)

    def _admit(self, request: RecommendRequest) -> Ask:
        deadline = Deadline.after(self.policy.deadline_s)
        context = context_array(said(request, datetime.now(UTC)))
        country = country_code(request.country)
        return Ask(user_id=request.user_id, country=country, context=context, deadline=deadline, watch=Watch())

    async def _find(self, request: RecommendRequest, ask: Ask) -> tuple[str, Known, Found]:
        """Variant, user and candidates. An unknown model means the record moved on: read it again and retry once."""
        plan = self.traffic.plan
        if plan is None:
            ask.reasons.append("no_traffic_record")
            return NO_VARIANT, unread(request), self.ladder.bottom(ask.country, None)
        arm = plan.assign(request.user_id)
        with ask.watch.stage("read"):
            known = await self.users.read(request.user_id, request.country, arm.release, ask.deadline)
        assume_home(request, ask, known)
        ask.embedding = known.embedding
        ask.reasons.extend(known.reasons)
        ask.release = arm.release.number
        try:
            found = await self.ladder.descend(ask, arm.release, known)
        except UnknownModelError:
            arm = await self._follow(request, ask, arm)
            found = await self.ladder.descend(ask, arm.release, known)
        return arm.variant, known, found

    async def _follow(self, request: RecommendRequest, ask: Ask, arm: Assignment) -> Assignment:
        """The arm by the record as it is now; an embedding of another tower is dropped."""
        ask.retried = True
        with ask.watch.stage("read"), suppress(LateError):  # too late to read: the retry then takes a lower rung
            await self.traffic.refresh(ask.deadline.allow(self.policy.caps.read, self.policy.reserves.recommend))
        assert self.traffic.plan is not None
        now = self.traffic.plan.assign(request.user_id)
        ask.release = now.release.number
        if now.release.embedding_prefix != arm.release.embedding_prefix:
            ask.embedding = None
        return now

    def _choose(self, request: RecommendRequest, known: Known, found: Found) -> Chosen:
        hidden = known.shown
        if request.exclude:
            excluded = np.array([item_key(item_id) for item_id in request.exclude], np.int64)
            hidden = np.concatenate([hidden, excluded])
        scores = rules.score(found.candidates, self.policy.rules)
        withdrawn = self.withdrawn.keys
        rows = rules.select(scores, found.candidates, hidden, request.num_items, self.policy.rules, withdrawn)
        return Chosen(found=found, rows=rows, scores=scores)

    async def _show(self, chosen: Chosen, ask: Ask) -> list[Json]:
        """The items as the answer holds them. Only these rows' ids are decoded."""
        candidates, rows = chosen.found.candidates, chosen.rows
        item_ids = [raw.decode() for raw in candidates.ids[rows].tolist()]
        metadata = await self._metadata(item_ids, chosen.found, ask)
        scores = np.round(chosen.scores[rows], DIGITS).tolist()
        items: list[Json] = [
            {"item_id": item_id, "rank": rank, "score": score, "metadata": shown}
            for rank, (item_id, score, shown) in enumerate(zip(item_ids, scores, metadata, strict=True), 1)
        ]
        if candidates.objectives is not None:
            objectives = np.round(candidates.objectives[rows].astype(np.float64), DIGITS).tolist()
            for item, values in zip(items, objectives, strict=True):
                item["scores"] = dict(zip(OBJECTIVES, values, strict=True))
        return items

    async def _metadata(self, item_ids: list[str], found: Found, ask: Ask) -> list[Metadata]:
        if found.metadata is not None:
            return [found.metadata.get(item_id) or self.items.kept(item_id) for item_id in item_ids]
        return await self.items.metadata(item_ids, ask.deadline)

    def _answer(
        self, request: RecommendRequest, request_id: str, ask: Ask, variant: str, chosen: Chosen, items: list[Json]
    ) -> Json:
        seconds = ask.watch.total()
        body: Json = {
            "request_id": request_id,
            "user_id": request.user_id,
            "items": items,
            "model_version": str(chosen.found.release),
            "variant": variant,
            "latency_ms": round(1000 * seconds, 3),
            "degraded": degraded(chosen.found.level, ask.reasons, len(items) / request.num_items),
        }
        if request.timings:
            body["timings"] = ask.watch.milliseconds()
        LATENCY.observe("total", seconds)
        TALLIES.of(chosen.found.release).made += 1
        if ask.release is not None:
            TALLIES.of(ask.release).answered(seconds, missed(chosen))
        return body

    def _log(self, request: RecommendRequest, ask: Ask, known: Known, chosen: Chosen, body: Json) -> None:
        """Queue the impression line and the recently shown items; both are written later."""
        for reason in body["degraded"]["reasons"] if body["degraded"] else ():
            child(DEGRADED, chosen.found.level, reason).inc()
        self.users.showed(request.user_id, chosen.found.candidates.keys[chosen.rows])
        inputs = b"".join((known.row.tobytes(), known.history.tobytes(), ask.context.tobytes()))
        digest = hashlib.blake2b(inputs, digest_size=8).hexdigest()
        self.writer.line(
            {
                "event": "impressions",
                "at": time.time(),
                "request_id": body["request_id"],
                "user_id": request.user_id,
                "model_version": body["model_version"],
                "variant": body["variant"],
                "level": chosen.found.level,
                "degraded": body["degraded"],
                "latency_ms": body["latency_ms"],
                "placement": request.placement,
                "features": digest,
                "features_from": known.origin,
                "features_age_s": known.age_s,
                "items": [(item["item_id"], item["rank"], item["score"]) for item in body["items"]],
            }
        )


def failed(ask: Ask) -> None:
    """Count an error against the release that the user was assigned to."""
    if ask.release is not None:
        TALLIES.of(ask.release).failed += 1


def missed(chosen: Chosen) -> bool:
    """Whether the release itself fell short: it did not rank, or had nothing to show. What it can't help, such as old
    features or an absent Redis, would only hide that, since it makes every release's answers degraded."""
    return chosen.found.level in UNRANKED or len(chosen.rows) == 0


def said(request: RecommendRequest, now: datetime) -> RequestContext:
    """What the request says of itself, at `now`."""
    return RequestContext(
        at=now,
        device=request.device,
        system=request.os,
        country=request.country,
        language=request.language,
        time_zone=request.time_zone,
        placement=request.placement,
        referrer=request.referrer,
        session_depth=request.session_depth,
    )


def assume_home(request: RecommendRequest, ask: Ask, known: Known) -> None:
    """Where the request does not say, it comes from the user's own country and is in the user's own language."""
    if request.country is None:
        ask.country = known.country
        ask.context[CONTEXT_COUNTRY] = known.country
    if request.language is None:
        ask.context[CONTEXT_LANGUAGE] = known.language


def unread(request: RecommendRequest) -> Known:
    """A user nothing was read of, for when there is nothing to rank with either."""
    return Known(row=cold_user(request.country), origin="cold")


def degraded(level: Level, reasons: list[str], coverage: float) -> Json | None:
    """What the answer says of its shortcomings; None when there are none."""
    if coverage < 1:
        reasons = [*reasons, "few_candidates"]
    if not reasons:
        return None
    return {"level": level, "reasons": reasons, "coverage": round(coverage, 4)}
