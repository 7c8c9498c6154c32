"""Display metadata of the chosen items: an in-process LRU, then one MGET. What is missing is not an error."""

from collections.abc import Sequence

import orjson

from feature_repo.rows import display_key
from orchestrator.deadline import Deadline
from orchestrator.errors import StageError
from orchestrator.lru import Lru
from orchestrator.metrics import BROKEN, child, looked_up
from orchestrator.policy import Policy
from orchestrator.redis_link import Reply, Store

Metadata = orjson.Fragment
EMPTY = orjson.Fragment(b"{}")


class Items:
    """Metadata by item id, kept as the JSON bytes the answer will hold."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store = store
        self._policy = policy
        self._kept: Lru[Metadata] = Lru(policy.metadata_items, policy.metadata_ttl_s)

    async def metadata(self, item_ids: Sequence[str], deadline: Deadline) -> list[Metadata]:
        """One object for each id, `{}` where nothing is known or Redis did not answer in time."""
        found = self._kept.get_all(item_ids)
        missing = [item_id for item_id, kept in zip(item_ids, found, strict=True) if kept is None]
        looked_up("metadata", not missing)
        if not missing:
            return [kept or EMPTY for kept in found]
        fetched = await self._fetch(missing, deadline)
        return [kept or fetched.get(item_id, EMPTY) for item_id, kept in zip(item_ids, found, strict=True)]

    def kept(self, item_id: str) -> Metadata:
        """What this process remembers of the item, `{}` if nothing."""
        return self._kept.get(item_id) or EMPTY

    async def _fetch(self, item_ids: Sequence[str], deadline: Deadline) -> dict[str, Metadata]:
        try:
            timeout = deadline.allow(self._policy.caps.metadata, self._policy.reserves.metadata)
            (replies,) = await self._store.execute([("MGET", *map(display_key, item_ids))], timeout)
        except StageError:
            return {}
        fetched = {item_id: parse_metadata(reply) for item_id, reply in zip(item_ids, replies, strict=True)}
        for item_id, metadata in fetched.items():
            self._kept.put(item_id, metadata)
        return fetched


def parse_metadata(reply: Reply) -> Metadata:
    """The stored JSON object, checked and compact; `{}` for anything else."""
    if reply is None:
        return EMPTY
    try:
        value = orjson.loads(reply)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        child(BROKEN, "metadata").inc()
        return EMPTY
    return orjson.Fragment(orjson.dumps(value))
