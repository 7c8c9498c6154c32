"""What a request led to, between the rungs that found it and the document that says it."""

from dataclasses import dataclass
from typing import Any

from orchestrator import rules
from orchestrator.ladder import Ask, Found, Level
from orchestrator.users import Known

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The rows that will be shown, the order's scores, and the rows that may be shown while nobody can rank:
    rows [m], scores [n], kept [l]."""

    found: Found
    rows: rules.Rows
    scores: rules.Floats
    kept: rules.Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`body` is the answer's document, the rest what it was made of."""

    ask: Ask
    known: Known
    chosen: Chosen
    body: Json


def degraded(level: Level, reasons: list[str], coverage: float) -> Json | None:
    """What the answer says of its shortcomings; None when there are none."""
    if coverage < 1:
        reasons = [*reasons, "few_candidates"]
    if not reasons:
        return None
    return {"level": level, "reasons": reasons, "coverage": round(coverage, 4)}
