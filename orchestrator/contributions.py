"""Which features made the scores of the items of an answer: its release's own candidates, matrix and forest again.

Three calls of one release: candidates with their features → assemble → explain, some rows at a time. What comes after
the deadline, or fails, is left out, with the reason.
"""

from dataclasses import dataclass, field

import numpy as np

from feature_repo.schema import SCHEMA
from model_repository.contract import EXPLAIN, EXPLAINED, ITEM_FEATURES, ITEM_KEY, OBJECTIVES, RANKER_FEATURES
from model_repository.contract import SIMILARITY as SIMILARITY_TENSOR
from orchestrator.call import Array, Arrays, Call
from orchestrator.chosen import Answer
from orchestrator.deadline import Deadline
from orchestrator.errors import BadAnswerError, StageError
from orchestrator.explanation import Contribution, Contributions
from orchestrator.reasons import Reasons
from orchestrator.rules import Floats
from orchestrator.triton import Inference

NAMES = SCHEMA.ranker_names
DIGITS = 6


@dataclass(slots=True, kw_only=True)
class Found:
    """By item key: similarity, ranker row [RANKER_WIDTH], contributions [objectives, RANKER_WIDTH + 1]."""

    similarity: dict[int, float] = field(default_factory=dict)
    rows: dict[int, Floats] = field(default_factory=dict)
    contributions: dict[int, Floats] = field(default_factory=dict)
    unexplained: str | None = None


class Contributing:
    """Asks a release for the reasons of an answer. Nothing here is shared with the requests that serve but Triton."""

    def __init__(self, triton: Inference) -> None:
        self._triton = triton

    async def of(self, answer: Answer, reasons: Reasons | None, deadline: Deadline) -> Found:
        """What could be found out until the deadline."""
        found = Found()
        candidates, rows = answer.chosen.found.candidates, answer.chosen.rows
        if candidates.objectives is None:
            found.unexplained = "not_ranked"
        elif reasons is None:
            found.unexplained = "no_model"
        else:
            try:
                await self._fill(found, answer, reasons, deadline)
            except StageError as error:
                found.unexplained = error.reason
        if found.unexplained is None and len(found.contributions) < len(rows):
            found.unexplained = "gone"  # no longer among the candidates
        return found

    async def _fill(self, found: Found, answer: Answer, reasons: Reasons, deadline: Deadline) -> None:
        watch = answer.ask.watch
        with watch.stage("explain_candidates"):
            retrieved = await self._retrieve(answer, reasons, deadline)
        keys = retrieved[ITEM_KEY.name][0]
        places = {int(key): place for place, key in enumerate(keys.tolist())}
        shown = [key for key in answer.chosen.found.candidates.keys[answer.chosen.rows].tolist() if key in places]
        found.similarity = {key: float(retrieved[SIMILARITY_TENSOR.name][0, places[key]]) for key in shown}
        with watch.stage("explain_assemble"):
            matrix = await self._assemble(answer, reasons, retrieved, deadline)
        found.rows = {key: matrix[places[key]] for key in shown}
        for start in range(0, len(shown), EXPLAINED):
            some = shown[start : start + EXPLAINED]
            with watch.stage("explain_contributions"):
                found.contributions |= await self._explain(reasons, {key: found.rows[key] for key in some}, deadline)

    async def _retrieve(self, answer: Answer, reasons: Reasons, deadline: Deadline) -> Arrays:
        ask = answer.ask
        assert ask.embedding is not None, "it was ranked"
        country = np.array([ask.country], np.int32)
        return await self._infer(reasons.candidates, [ask.embedding, country], deadline)

    async def _assemble(self, answer: Answer, reasons: Reasons, retrieved: Arrays, deadline: Deadline) -> Array:
        item = [retrieved[tensor.name] for tensor in (ITEM_KEY, SIMILARITY_TENSOR, ITEM_FEATURES)]
        user: list[Array] = [answer.known.row, answer.known.history, answer.ask.context]
        return (await self._infer(reasons.assemble, [*user, *item], deadline))[RANKER_FEATURES.name]

    async def _explain(self, reasons: Reasons, rows: dict[int, Floats], deadline: Deadline) -> dict[int, Floats]:
        matrix = np.zeros((EXPLAINED, len(NAMES)), np.float32)
        matrix[: len(rows)] = list(rows.values())
        answer = (await self._infer(reasons.explain, [matrix], deadline))[EXPLAIN.outputs[0].name]
        if not np.isfinite(answer).all():
            raise BadAnswerError("a contribution is not finite")
        return dict(zip(rows, answer, strict=False))

    async def _infer(self, call: Call, inputs: list[Array], deadline: Deadline) -> Arrays:
        return await self._triton.infer(call, inputs, deadline.allow(1.0))


def largest(row: Floats, contributions: Floats, most: int) -> dict[str, Contributions]:
    """An item's objectives in words: ranker row [RANKER_WIDTH], contributions [objectives, RANKER_WIDTH + 1]."""
    return {name: _objective(row, one, most) for name, one in zip(OBJECTIVES, contributions, strict=True)}


def _objective(row: Floats, contributions: Floats, most: int) -> Contributions:
    values, bias = contributions[:-1].astype(np.float64), float(contributions[-1])
    chosen = [i for i in np.argsort(-np.abs(values), kind="stable")[:most] if values[i] != 0]
    named = [_named(NAMES[i], float(row[i]), float(values[i])) for i in chosen]
    log_odds = bias + float(values.sum())
    return Contributions(
        bias=round(bias, DIGITS),
        features=named,
        others=round(float(values.sum() - values[chosen].sum()), DIGITS),
        log_odds=round(log_odds, DIGITS),
    )


def _named(feature: str, value: float, contribution: float) -> Contribution:
    known = round(value, DIGITS) if np.isfinite(value) else None
    return Contribution(feature=feature, value=known, contribution=round(contribution, DIGITS))


def difference(contributions: Floats, objectives: Floats) -> float:
    """Largest |sigmoid(Σ contributions) − score|: contributions [n, objectives, width], objectives [n, objectives]."""
    log_odds = contributions.astype(np.float64).sum(axis=2)
    return float(np.abs(1 / (1 + np.exp(-log_odds)) - objectives).max())
