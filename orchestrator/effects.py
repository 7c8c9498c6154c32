"""What the rules did to one answer, item by item: pure, no I/O. The rules themselves are in `rules`."""

import numpy as np

from orchestrator import rules
from orchestrator.explanation import BlendTerms, Hidden, Moved
from orchestrator.policy import Blend, RulePolicy
from orchestrator.rules import Candidates, Floats, Keys, Rows


def hidden(candidates: Candidates, shown: Keys, excluded: Keys) -> Hidden:
    """Candidates that each rule alone would hide."""
    columns = {"stock": rules.IN_STOCK, "safety": rules.IS_SAFE, "region": rules.IN_REGION}
    lists = {"recently_shown": shown, "excluded": excluded}
    by_column = {name: int((~(candidates.rules[:, column] > 0)).sum()) for name, column in columns.items()}
    by_list = {name: int(np.isin(candidates.keys, keys).sum()) for name, keys in lists.items()}
    return Hidden(**by_column, **by_list)


def by_score(scores: Floats, candidates: Candidates, away: Keys) -> Rows:
    """Rows that may be shown, best first, before the spread of categories."""
    rows: Rows = np.flatnonzero(rules.eligible(candidates, away))
    return rows[rules.ranked(scores[rows], candidates.keys[rows])]


def moved(ordered: Rows, candidates: Candidates, policy: RulePolicy) -> list[Moved]:
    """Of rows by score, those that the spread of categories moved down, and where to."""
    places = rules.spread(candidates.rules[ordered, rules.CATEGORY], policy.per_category, policy.window)
    rank_of = np.argsort(places) + 1
    return [
        Moved(item_id=candidates.ids[row].decode(), rank_by_score=before, rank=int(after))
        for before, (row, after) in enumerate(zip(ordered[: policy.window], rank_of, strict=False), 1)
        if after > before
    ]


def blend_terms(objectives: Floats, price: float, weights: Blend) -> BlendTerms:
    """The terms of one item's blend, whose sum `rules.blend` gives: objectives [3]."""
    relevance, ctr, cvr = (float(value) for value in objectives)
    revenue = ctr * cvr * (max(price, 0.0) if np.isfinite(price) else 0.0)
    return BlendTerms(
        relevance=weights.relevance * relevance,
        ctr=weights.ctr * ctr,
        cvr=weights.cvr * cvr,
        revenue=weights.revenue * revenue / (revenue + weights.revenue_scale),
    )
