"""The last rung: each release's popular items, in memory since the start, filtered like any others. No network.

Refreshed from Redis every 15 minutes and whenever the releases change; mirrored to local files, so that a restart
while Redis is away still has them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import structlog
from pydantic import ValidationError

from feature_repo.schema import country_code
from feature_repo.vectors import item_key
from model_repository.contract import RULE_COLUMNS
from model_repository.traffic import Popular, PopularItem, popular_key
from orchestrator import mirror
from orchestrator.errors import StageError
from orchestrator.items import Metadata
from orchestrator.redis_link import Store
from orchestrator.rules import IN_REGION, Candidates

READ_TIMEOUT_S = 0.5
log = structlog.get_logger(__name__)
Limits = dict[int, frozenset[int]]  # country codes by item key; none of them: everywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class PopularList:
    """One release's list as candidates; `regions` holds the country codes an item is limited to, None everywhere."""

    release: int
    candidates: Candidates
    regions: tuple[frozenset[int] | None, ...]
    metadata: dict[str, Metadata]

    @classmethod
    def of(cls, popular: Popular) -> "PopularList":
        """Arrays of a `Popular` document; everything in it may be sold."""
        items = popular.items
        ids = np.array([item.item_id.encode() for item in items] or [b""], dtype=np.bytes_)[: len(items)]
        candidates = Candidates(
            keys=np.array([item_key(item.item_id) for item in items], np.int64),
            ids=ids,
            rules=np.array([_rules(item) for item in items], np.float32).reshape(len(items), len(RULE_COLUMNS)),
            retrieval=np.array([item.score for item in items], np.float64),
        )
        regions = tuple(None if i.regions is None else frozenset(map(country_code, i.regions)) - {0} for i in items)
        metadata = {i.item_id: orjson.Fragment(orjson.dumps(i.metadata)) for i in items if i.metadata}
        return cls(release=popular.release, candidates=candidates, regions=regions, metadata=metadata)

    def in_country(self, country: int, limits: Mapping[int, frozenset[int]]) -> Candidates:
        """The candidates with the region rule decided for a country code; `limits` came after the list was made."""
        rules = self.candidates.rules.copy()
        rules[:, IN_REGION] = [codes is None or country in codes for codes in self.regions]
        plain = self.candidates
        decided = Candidates(keys=plain.keys, ids=plain.ids, rules=rules, retrieval=plain.retrieval)
        restrict(decided, country, limits)
        return decided


def restrict(candidates: Candidates, country: int, limits: Mapping[int, frozenset[int]]) -> None:
    """Decide the region rule, in place, of items whose regions changed since the candidates were made."""
    if not limits:
        return
    for row, key in enumerate(candidates.keys.tolist()):
        if (codes := limits.get(key)) is not None:
            candidates.rules[row, IN_REGION] = not codes or country in codes


class PopularFollower:
    """Holds a list for each served release, and what became of items' regions since."""

    def __init__(self, store: Store, folder: Path, limits: Limits) -> None:
        self._store = store
        self._folder = folder
        self.limits = limits
        self._lists: dict[int, PopularList] = {}

    def load_mirror(self) -> None:
        """Take what an earlier run left."""
        for file in sorted(self._folder.glob("popular-*.json")):
            if (content := mirror.load(file)) is not None:
                self._adopt(content)

    async def refresh(self, releases: Iterable[int]) -> bool:
        """Read the lists of these releases; what cannot be read stays as it was. Whether all could be."""
        wanted = sorted(releases)
        try:
            (replies,) = await self._store.execute([("MGET", *map(popular_key, wanted))], READ_TIMEOUT_S)
        except StageError:
            return False
        for release, content in zip(wanted, replies, strict=True):
            if content is not None and self._adopt(content) == release:
                mirror.save(self._file(release), content)
        complete = set(wanted) <= set(self._lists)
        if complete:
            self._forget(set(self._lists) - set(wanted))
        return complete

    def of(self, release: int) -> PopularList | None:
        """The release's list."""
        return self._lists.get(release)

    def best(self, release: int | None) -> PopularList | None:
        """The release's list, else that of the latest release there is."""
        if release is not None and release in self._lists:
            return self._lists[release]
        return self._lists[max(self._lists)] if self._lists else None

    def _forget(self, retired: Iterable[int]) -> None:
        for release in retired:
            del self._lists[release]
            self._file(release).unlink(missing_ok=True)

    def _file(self, release: int) -> Path:
        return self._folder / f"popular-{release}.json"

    def _adopt(self, content: bytes) -> int | None:
        try:
            popular = Popular.model_validate_json(content)
        except ValidationError as error:
            log.error("popular_items_refused", problems=error.error_count())
            return None
        self._lists[popular.release] = PopularList.of(popular)
        return popular.release


def _rules(item: PopularItem) -> tuple[float, ...]:
    values = {"price": item.price, "category": item.category, "age_days": item.age_days}
    return tuple(float(values.get(name, 1.0)) for name in RULE_COLUMNS)
