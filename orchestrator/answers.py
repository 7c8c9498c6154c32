"""The user's last full answer, and what would have come next, kept in Redis: rung L3 shows it while nobody can rank.

A list is of one release and one country, and only good for those. It is written in the background, for each user once
in a while; what was recently shown is hidden as on every rung, hence more items than an answer shows.
"""

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from feature_repo.vectors import item_key
from model_repository.contract import RULE_COLUMNS
from orchestrator.errors import BadAnswerError
from orchestrator.lru import Lru
from orchestrator.metrics import BROKEN, child, looked_up
from orchestrator.policy import AnswerPolicy
from orchestrator.redis_link import Store
from orchestrator.rules import CATEGORY, Candidates, Rows
from orchestrator.writer import Writer


class Kept(BaseModel):
    """One list as Redis holds it: ids and categories, best first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    release: int
    country: int
    items: tuple[tuple[str, float], ...]

    def candidates(self) -> Candidates:
        """As candidates in the order of the list; all could be sold when it was made."""
        ids = [item_id for item_id, _ in self.items]
        rules = np.ones((len(ids), len(RULE_COLUMNS)), np.float32)
        rules[:, CATEGORY] = [category for _, category in self.items]
        return Candidates(
            keys=np.array([item_key(item_id) for item_id in ids], np.int64),
            ids=np.array([item_id.encode() for item_id in ids], np.bytes_),
            rules=rules,
            retrieval=-np.arange(len(ids), dtype=np.float64),
        )


class Answers:
    """`wanted` before the rows of a ranked answer are chosen, `keep` after; `read` when no higher rung stands."""

    def __init__(self, store: Store, writer: Writer, policy: AnswerPolicy) -> None:
        self._store = store
        self._writer = writer
        self._policy = policy
        self._written: Lru[tuple[int, int]] = Lru(policy.users, policy.every_s)

    def wanted(self, user_id: str, release: int, country: int) -> int:
        """How many rows are to be kept; 0 while the list that was written will do."""
        return 0 if self._written.get(user_id) == (release, country) else self._policy.items

    def keep(self, user_id: str, release: int, country: int, candidates: Candidates, rows: Rows) -> None:
        """Write the items of the first rows, best first, in the background; nothing when there are none."""
        if len(rows) == 0:
            return
        rows = rows[: self._policy.items]
        ids = [raw.decode() for raw in candidates.ids[rows].tolist()]
        categories = candidates.rules[rows, CATEGORY].tolist()
        items = list(zip(ids, categories, strict=True))
        content = orjson.dumps({"release": release, "country": country, "items": items})
        self._written.put(user_id, (release, country))
        expiry = ("EX", self._policy.ttl_s)
        self._writer.command("answer", ("SET", answer_key(user_id), content, *expiry))

    async def read(self, user_id: str, timeout_s: float) -> Kept | None:
        """The user's list. Raises StageError."""
        ((content,),) = await self._store.execute((("MGET", answer_key(user_id)),), timeout_s)
        looked_up("answer", content is not None)
        if content is None:
            return None
        try:
            return Kept.model_validate_json(content)
        except ValidationError:
            child(BROKEN, "answer").inc()
            raise BadAnswerError("a kept answer cannot be read") from None


def answer_key(user_id: str) -> str:
    """Redis string with the user's list."""
    return f"answer:{user_id}"
