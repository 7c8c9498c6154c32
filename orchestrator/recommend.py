"""One request, as the architecture draws it: admit → read → embed → recommend → rules → respond → log."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import orjson

from feature_repo.context import context_array
from feature_repo.schema import country_code
from feature_repo.vectors import item_key
from model_repository.contract import OBJECTIVES
from orchestrator import rules
from orchestrator.answers import Answers
from orchestrator.asked import assume_home, said, session_of, unread
from orchestrator.chosen import Answer, Chosen, Json, degraded
from orchestrator.deadline import Deadline
from orchestrator.errors import LateError, UnknownModelError
from orchestrator.impression import impression, raw_inputs, sampled
from orchestrator.impression_log import ImpressionLog
from orchestrator.items import Items, Metadata
from orchestrator.ladder import Ask, Found, Ladder, Level
from orchestrator.limit import Limit
from orchestrator.metrics import DEGRADED, LATENCY, child
from orchestrator.outcomes import OUTCOMES, Count
from orchestrator.policy import Policy
from orchestrator.schemas import RecommendRequest
from orchestrator.tallies import TALLIES
from orchestrator.traffic import Assignment, TrafficFollower
from orchestrator.users import Known, Users
from orchestrator.watch import new_watch
from orchestrator.withdrawn import WithdrawnFollower

DIGITS = 6  # of scores in the answer
NO_VARIANT = "none"
UNRANKED: frozenset[Level] = frozenset({"L2", "L3", "L4"})


@dataclass(slots=True, kw_only=True)
class Recommender:
    """Everything a request touches."""

    policy: Policy
    limit: Limit
    traffic: TrafficFollower
    users: Users
    ladder: Ladder
    items: Items
    answers: Answers
    log: ImpressionLog
    withdrawn: WithdrawnFollower

    async def recommend(self, request: RecommendRequest, request_id: str) -> bytes:
        """The answer's JSON. Raises OverloadedError, NothingStandsError; any other failure is a lower rung."""
        with self.limit:
            ask = self._admit(request)
            try:
                answer = await self._answered(request, request_id, ask)
                self._count(ask, answer.chosen)
                self._log(request, ask, answer.known, answer.chosen, answer.body)
                return orjson.dumps(answer.body)
            except Exception:
                failed(ask)
                raise

    async def unseen(self, request: RecommendRequest, request_id: str) -> Answer:
        """An answer that the user is not shown: neither counted nor logged. Raises as `recommend` does."""
        with self.limit:
            return await self._answered(request, request_id, self._admit(request))

    async def _answered(self, request: RecommendRequest, request_id: str, ask: Ask) -> Answer:
        variant, known, found = await self._find(request, ask)
        with ask.watch.stage("rules"):
            chosen = self._choose(request, ask, known, found)
        with ask.watch.stage("respond"):
            items = await self._show(chosen, ask)
        body = self._answer(request, request_id, ask, variant, chosen, items)
        return Answer(ask=ask, known=known, chosen=chosen, body=body)

    def _admit(self, request: RecommendRequest) -> Ask:
        deadline = Deadline.after(self.policy.deadline_s)
        now = datetime.now(UTC)
        context = context_array(said(request, now))
        country = country_code(request.country)
        return Ask(
            user_id=request.user_id,
            country=country,
            context=context,
            deadline=deadline,
            watch=new_watch(),
            at=now.timestamp(),
        )

    async def _find(self, request: RecommendRequest, ask: Ask) -> tuple[str, Known, Found]:
        """Variant, user and candidates. An unknown model means the record moved on: read it again and retry once."""
        plan = self.traffic.plan
        if plan is None:
            ask.reasons.append("no_traffic_record")
            return NO_VARIANT, unread(request), self.ladder.bottom(ask.country, None)
        arm = plan.assign(request.user_id)
        with ask.watch.stage("read"):
            known = await self.users.read(
                request.user_id, request.country, arm.release, ask.deadline, session_of(request)
            )
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

    def _choose(self, request: RecommendRequest, ask: Ask, known: Known, found: Found) -> Chosen:
        hidden = known.shown
        if request.exclude:
            excluded = np.array([item_key(item_id) for item_id in request.exclude], np.int64)
            hidden = np.concatenate([hidden, excluded])
        scores = rules.score(found.candidates, self.policy.rules)
        keeps = found.level not in UNRANKED and known.origin != "cold"
        wanted = self.answers.wanted(request.user_id, found.release, ask.country) if keeps else 0
        most, withdrawn = max(wanted, request.num_items), self.withdrawn.keys
        rows = rules.select(scores, found.candidates, hidden, most, self.policy.rules, withdrawn)
        return Chosen(found=found, rows=rows[: request.num_items], scores=scores, kept=rows[:wanted])

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
        return body

    def _count(self, ask: Ask, chosen: Chosen) -> None:
        """Count the answer, for its release and for the one that the user was assigned to."""
        seconds = ask.watch.total()
        LATENCY.observe("total", seconds)
        TALLIES.of(chosen.found.release).made += 1
        if ask.release is not None:
            TALLIES.of(ask.release).answered(seconds, missed(chosen))

    def _log(self, request: RecommendRequest, ask: Ask, known: Known, chosen: Chosen, body: Json) -> None:
        """Queue the impression and the recently shown items; both are written later."""
        for reason in body["degraded"]["reasons"] if body["degraded"] else ():
            child(DEGRADED, chosen.found.level, reason).inc()
        self.users.showed(request.user_id, chosen.found.candidates.keys[chosen.rows])
        OUTCOMES.add(body["model_version"], body["variant"], Count(shown=len(chosen.rows)))
        self.answers.keep(request.user_id, chosen.found.release, ask.country, chosen.found.candidates, chosen.kept)
        entry = impression(request, ask, known, chosen.found.level, body)
        if sampled(body["request_id"], self.policy.log.inputs):
            objectives = chosen.found.candidates.objectives
            entry["inputs"] = raw_inputs(ask, known, None if objectives is None else objectives[chosen.rows])
        self.log.add(entry)


def failed(ask: Ask) -> None:
    """Count an error against the release that the user was assigned to."""
    if ask.release is not None:
        TALLIES.of(ask.release).failed += 1


def missed(chosen: Chosen) -> bool:
    """Whether the release itself fell short: it did not rank, or had nothing to show. What it can't help, such as old
    features or an absent Redis, would only hide that, since it makes every release's answers degraded."""
    return chosen.found.level in UNRANKED or len(chosen.rows) == 0
