"""`POST /v1/recommend?explain=true`: the normal answer, and why it is that one.

The answer goes the way of every request, with its deadline, but is neither counted nor logged nor remembered as shown.
What made its scores is asked afterwards, with time of its own and few at once, so that it stays out of others' way.
"""

import numpy as np
import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from feature_repo.vectors import item_key
from orchestrator import effects, rules
from orchestrator.chosen import Answer
from orchestrator.contributions import Contributing, Found, difference, largest
from orchestrator.deadline import Deadline
from orchestrator.explanation import BlendTerms, Contributions, ExplainedItem, Explanation, Retrieval
from orchestrator.limit import Limit
from orchestrator.policy import Policy
from orchestrator.recommend import DIGITS, Recommender
from orchestrator.rules import Candidates, Keys, Rows
from orchestrator.schemas import RecommendRequest
from orchestrator.triton import Inference

ASKED = {b"explain=true": True, b"explain=false": False}


class Forked:
    """One path, two endpoints, neither of which takes query parameters: `?explain=true` goes to the one that explains,
    whatever else is asked to the other."""

    def __init__(self, plain: ASGIApp, explained: ASGIApp) -> None:
        self._plain = plain
        self._explained = explained

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        asked = ASKED.get(scope["query_string"]) if scope["query_string"] else None
        if asked is not None:
            scope["query_string"] = b""
        await (self._explained if asked else self._plain)(scope, receive, send)


class Explainer:
    """Answers and explains."""

    def __init__(self, recommender: Recommender, triton: Inference, policy: Policy) -> None:
        self._recommender = recommender
        self._contributing = Contributing(triton)
        self._policy = policy
        self._limit = Limit(policy.explain.at_once)

    async def explain(self, request: RecommendRequest, request_id: str) -> bytes:
        """The answer's JSON with `explanation`. Raises OverloadedError, NothingStandsError."""
        with self._limit:
            deadline = Deadline.after(self._policy.explain.deadline_s)
            answer = await self._recommender.unseen(request, request_id)
            plan = self._recommender.traffic.plan
            release = plan.releases.get(answer.chosen.found.release) if plan else None
            found = await self._contributing.of(answer, release.reasons if release else None, deadline)
            explanation = self._explanation(request, answer, found)
            return orjson.dumps(answer.body | {"explanation": explanation.model_dump()})

    def _explanation(self, request: RecommendRequest, answer: Answer, found: Found) -> Explanation:
        candidates, policy = answer.chosen.found.candidates, self._policy.rules
        shown, excluded = answer.known.shown, keys_of(request.exclude)
        away = np.concatenate([shown, excluded, self._recommender.withdrawn.keys])
        ordered = effects.by_score(answer.chosen.scores, candidates, away)
        return Explanation(
            level=answer.chosen.found.level,
            candidates=len(candidates.keys),
            hidden=effects.hidden(candidates, shown, excluded),
            eligible=len(ordered),
            moved=effects.moved(ordered, candidates, policy),
            items=[
                self._item(answer, found, ordered, row, rank) for rank, row in enumerate(answer.chosen.rows.tolist(), 1)
            ],
            unexplained=found.unexplained,
            difference=_difference(candidates, found),
            timings=answer.ask.watch.milliseconds(),
        )

    def _item(self, answer: Answer, found: Found, ordered: Rows, row: int, rank: int) -> ExplainedItem:
        candidates, score = answer.chosen.found.candidates, float(answer.chosen.scores[row])
        blend, freshness = self._terms(candidates, row)
        return ExplainedItem(
            item_id=candidates.ids[row].decode(),
            retrieval=Retrieval(rank=row + 1, similarity=_similarity(candidates, found, row)),
            blend=blend,
            freshness=freshness,
            score=round(score, DIGITS) if np.isfinite(score) else None,
            rank_by_score=int(np.flatnonzero(ordered == row)[0]) + 1,
            rank=rank,
            contributions=self._contributions(found, int(candidates.keys[row])),
        )

    def _terms(self, candidates: Candidates, row: int) -> tuple[BlendTerms | None, float | None]:
        """Blend and freshness, where a ranker's scores are what the order is by."""
        if candidates.objectives is None:
            return None, None
        policy, columns = self._policy.rules, candidates.rules[row]
        freshness = float(rules.freshness(columns[rules.AGE_DAYS : rules.AGE_DAYS + 1], policy)[0])
        price = float(columns[rules.PRICE])
        terms = effects.blend_terms(candidates.objectives[row], price, policy.blend)
        rounded = {name: round(value, DIGITS) for name, value in terms.model_dump().items()}
        return BlendTerms(**rounded), round(freshness, DIGITS)

    def _contributions(self, found: Found, key: int) -> dict[str, Contributions] | None:
        if (contributions := found.contributions.get(key)) is None:
            return None
        return largest(found.rows[key], contributions, self._policy.explain.features)


def keys_of(item_ids: list[str]) -> Keys:
    """The keys of items."""
    return np.array([item_key(item_id) for item_id in item_ids], np.int64)


def _similarity(candidates: Candidates, found: Found, row: int) -> float | None:
    if candidates.retrieval is not None:
        return round(float(candidates.retrieval[row]), DIGITS)
    similarity = found.similarity.get(int(candidates.keys[row]))
    return None if similarity is None else round(similarity, DIGITS)


def _difference(candidates: Candidates, found: Found) -> float | None:
    """How far the explained scores are from those that were served."""
    if candidates.objectives is None or not found.contributions:
        return None
    rows = [row for row, key in enumerate(candidates.keys.tolist()) if key in found.contributions]
    contributions = np.stack([found.contributions[key] for key in candidates.keys[rows].tolist()])
    return difference(contributions, candidates.objectives[rows])
