"""Business rules as numpy operations: pure, no I/O. Scores in, chosen rows out.

score = blend(...) × freshness(...)
rows  = select(score, candidates, hidden, k, policy)
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_repository.contract import RULE_COLUMNS
from orchestrator.policy import Blend, RulePolicy

Floats = npt.NDArray[np.floating]
Keys = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]

PRICE, CATEGORY, AGE_DAYS, IN_STOCK, IS_SAFE, IN_REGION = (
    RULE_COLUMNS.index(name) for name in ("price", "category", "age_days", "in_stock", "is_safe", "in_region")
)
NO_KEYS: Keys = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """n items in retrieval order: keys [n], ids [n] as fixed-width bytes, rule columns [n, 6], what is known of scores.

    `objectives` [n, 3] are relevance, CTR, CVR; None below rung L1. `retrieval` [n] orders the rungs without them.
    """

    keys: Keys
    ids: npt.NDArray[np.bytes_]
    rules: Floats
    objectives: Floats | None = None
    retrieval: Floats | None = None

    def followed_by(self, others: "Candidates") -> "Candidates":
        """These, then the others that are not among them, in this order and without scores."""
        new = ~contained(others.keys, self.keys) if self.keys.size else np.ones(len(others.keys), bool)
        keys = np.concatenate([self.keys, others.keys[new]])
        return Candidates(
            keys=keys,
            ids=np.concatenate([self.ids, others.ids[new]]),
            rules=np.concatenate([self.rules, others.rules[new]]),
            retrieval=-np.arange(len(keys), dtype=np.float64),
        )


def score(candidates: Candidates, policy: RulePolicy) -> Floats:
    """What the answer is ordered by: [n]. Without a ranker's scores it is the retrieval score, untouched."""
    if candidates.objectives is not None:
        prices, ages = candidates.rules[:, PRICE], candidates.rules[:, AGE_DAYS]
        return blend(candidates.objectives, prices, policy.blend) * freshness(ages, policy)
    if candidates.retrieval is not None:
        return candidates.retrieval.astype(np.float64)
    return -np.arange(len(candidates.keys), dtype=np.float64)


def blend(objectives: Floats, prices: Floats, weights: Blend) -> Floats:
    """[n, 3] relevance, CTR, CVR and [n] prices → [n] in [0, sum of weights]; the formula is in `Blend`."""
    values = objectives.astype(np.float64)
    revenue = values[:, 1] * values[:, 2] * np.where(np.isfinite(prices), np.maximum(prices, 0.0), 0.0)
    linear = values @ np.array((weights.relevance, weights.ctr, weights.cvr))
    earned: Floats = linear + weights.revenue * revenue / (revenue + weights.revenue_scale)
    return earned


def freshness(ages: Floats, policy: RulePolicy) -> Floats:
    """Multiplier [n] of an item `ages` days old; an unknown age earns nothing, a future one counts as new."""
    days = np.maximum(np.where(np.isfinite(ages), ages, np.inf), 0.0)
    return 1.0 + policy.freshness_boost * np.exp(-days / policy.freshness_days)


def select(
    scores: Floats, candidates: Candidates, hidden: Keys, k: int, policy: RulePolicy, withdrawn: Keys = NO_KEYS
) -> Rows:
    """Rows of at most k items, best first. Fewer come back when fewer may be shown; none is not an error."""
    rows = np.flatnonzero(eligible(candidates, hidden, withdrawn))
    rows = rows[ranked(scores[rows], candidates.keys[rows])]
    return rows[spread(candidates.rules[rows, CATEGORY], policy.per_category, policy.window)][:k]


def eligible(candidates: Candidates, hidden: Keys, withdrawn: Keys = NO_KEYS) -> npt.NDArray[np.bool_]:
    """Rows that may be shown: real, in stock, safe, in the region, neither excluded nor recently shown.

    `withdrawn`, sorted, are out of stock or unsafe since the candidates were made.
    """
    rules = candidates.rules
    kept: npt.NDArray[np.bool_]
    kept = (rules[:, IN_STOCK] > 0) & (rules[:, IS_SAFE] > 0) & (rules[:, IN_REGION] > 0) & (candidates.keys != 0)
    if hidden.size:
        kept &= ~contained(candidates.keys, hidden)
    if withdrawn.size:
        kept &= ~listed(candidates.keys, withdrawn)
    return kept


def ranked(scores: Floats, keys: Keys) -> Rows:
    """Order by falling score; equal scores by key, so that ties break the same everywhere; non-finite last."""
    return np.lexsort((keys, -np.where(np.isfinite(scores), scores, -np.inf)))


def spread(categories: Floats, per_category: int, window: int) -> Rows:
    """Order in which the first `window` hold at most `per_category` of each category, others moving down.

    Where too few categories exist the window is filled up in the given order. A loop, because it nearly always ends
    after a dozen steps, which is faster than sorting all the categories.
    """
    taken: dict[float, int] = {}
    first: list[int] = []
    for row, category in enumerate(categories.tolist()):
        if len(first) == window:
            break
        if (count := taken.get(category, 0)) < per_category:
            taken[category] = count + 1
            first.append(row)
    rest = np.ones(len(categories), bool)
    rest[first] = False
    return np.concatenate([np.array(first, np.intp), np.flatnonzero(rest)])


def contained(keys: Keys, hidden: Keys) -> npt.NDArray[np.bool_]:
    """For each key whether it is among `hidden` (not empty): several times faster than np.isin at these sizes."""
    return listed(keys, np.sort(hidden))


def listed(keys: Keys, ordered: Keys) -> npt.NDArray[np.bool_]:
    """For each key whether it is in a sorted list (not empty)."""
    places = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    found: npt.NDArray[np.bool_] = ordered[places] == keys
    return found
