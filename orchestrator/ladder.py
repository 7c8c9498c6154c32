"""From what is known of a user to candidates, one rung at a time: L0/L1 ranked → L2 retrieval order →
L3 the user's kept answer → L4 popular.

The first rung that answers inside the deadline wins; each failure is a reason in the answer. A rung is a method, so
that every one of them is a normal path.
"""

import time
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np

from feature_repo.schema import CONTEXT_WIDTH, COUNTRIES
from feature_repo.vectors import NO_HISTORY, USER_DEFAULTS, Floats
from model_repository.contract import COUNT, ITEM_ID, ITEM_KEY, RULES, SCORES, SIMILARITY, USER_EMBEDDING
from orchestrator.answers import Answers, Kept
from orchestrator.call import Arrays
from orchestrator.deadline import Deadline
from orchestrator.errors import BadAnswerError, NothingStandsError, StageError, UnknownModelError
from orchestrator.gate import Gate
from orchestrator.items import Metadata
from orchestrator.lru import Lru
from orchestrator.policy import Policy
from orchestrator.popular import PopularFollower, restrict
from orchestrator.release import Release
from orchestrator.rules import Candidates
from orchestrator.single_flight import SingleFlight
from orchestrator.triton import Inference
from orchestrator.users import Known, Users
from orchestrator.watch import Watch

Level = Literal["L0", "L1", "L2", "L3", "L4"]
T = TypeVar("T")
WARM_S = 3.0


@dataclass(slots=True, kw_only=True)
class Ask:
    """What the rungs need of a request: user, context features [CONTEXT_WIDTH], country code, deadline, stage times.

    `embedding` is the user's, once it is known; `reasons` collects what failed on the way down; `release` is the one
    that the user was assigned to, whatever answers in the end; `at` the unix second of the request's context.
    """

    user_id: str
    country: int
    context: Floats
    deadline: Deadline
    watch: Watch
    reasons: list[str] = field(default_factory=list)
    embedding: Floats | None = None
    retried: bool = False
    release: int | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Candidates and the rung they stand on; with `metadata` nothing more is fetched for the answer."""

    level: Level
    candidates: Candidates
    release: int
    metadata: Mapping[str, Metadata] | None = None


class Ladder:
    """The rungs and what they call."""

    def __init__(
        self, triton: Inference, users: Users, answers: Answers, popular: PopularFollower, policy: Policy
    ) -> None:
        self._triton = triton
        self._users = users
        self._answers = answers
        self._popular = popular
        self._caps, self._reserves = policy.caps, policy.reserves
        self._gate = Gate(policy.gate)
        self._cold: Lru[Floats] = Lru(4 * COUNTRIES)
        self._embedding: SingleFlight[Floats] = SingleFlight()

    async def descend(self, ask: Ask, release: Release, known: Known) -> Found:
        """Candidates from the highest rung that stands. Raises UnknownModelError (once), NothingStandsError."""
        if await self._try(ask, "queue", self._queue(ask)) is None:
            return self.bottom(ask.country, release.number)
        entered = time.monotonic()
        try:
            found = await self._through_triton(ask, release, known)
        finally:
            self._gate.leave(time.monotonic() - entered)
        return found or await self._kept(ask) or self.bottom(ask.country, release.number)

    async def _through_triton(self, ask: Ask, release: Release, known: Known) -> Found | None:
        if ask.embedding is None:
            ask.embedding = await self._try(ask, "embed", self._embed(ask, release, known))
        if (embedding := ask.embedding) is not None:
            ranked = await self._try(ask, "recommend", self._ranked(ask, release, known, embedding))
            if ranked is not None:
                return Found(level="L1" if known.reasons else "L0", candidates=ranked, release=release.number)
            retrieved = await self._try(ask, "candidates", self._retrieved(ask, release, embedding))
            if retrieved is not None:
                return Found(level="L2", candidates=retrieved, release=release.number)
        return None

    async def _kept(self, ask: Ask) -> Found | None:
        """The user's kept answer, popular items of the same release behind it.

        None without one for this country, or when its release is served no more: its items may be gone.
        """
        kept = await self._try(ask, "answer", self._read_answer(ask))
        if kept is None or kept.country != ask.country or (popular := self._popular.of(kept.release)) is None:
            return None
        limits, candidates = self._popular.limits, kept.candidates()
        restrict(candidates, ask.country, limits)
        candidates = candidates.followed_by(popular.in_country(ask.country, limits))
        return Found(level="L3", candidates=candidates, release=kept.release)

    async def _read_answer(self, ask: Ask) -> Kept | None:
        timeout = ask.deadline.allow(self._caps.answer, self._reserves.answer)
        return await self._answers.read(ask.user_id, timeout)

    async def warm(self, releases: Iterable[Release]) -> None:
        """Send one cold user through each release, at leisure: the first calls of a model are slow."""
        country, context = np.zeros(1, np.int32), np.zeros(CONTEXT_WIDTH, np.float32)
        for release in releases:
            with suppress(StageError):
                arrays = await self._triton.infer(release.embed, (USER_DEFAULTS,), WARM_S)
                embedding = arrays[USER_EMBEDDING.name]
                inputs = (USER_DEFAULTS, NO_HISTORY, embedding, country, context)
                await self._triton.infer(release.recommend, inputs, WARM_S)
                await self._triton.infer(release.candidates, (embedding, country), WARM_S)

    def bottom(self, country: int, release: int | None) -> Found:
        """Popular items from memory. Raises NothingStandsError when there are none."""
        popular = self._popular.best(release)
        if popular is None:
            raise NothingStandsError
        candidates = popular.in_country(country, self._popular.limits)
        return Found(level="L4", candidates=candidates, release=popular.release, metadata=popular.metadata)

    async def _try(self, ask: Ask, stage: str, work: Coroutine[None, None, T]) -> T | None:
        """The stage's result; None when it failed, with the reason noted. A first unknown model goes up."""
        with ask.watch.stage(stage):
            try:
                return await work
            except StageError as error:
                if isinstance(error, UnknownModelError) and not ask.retried:
                    raise
                ask.reasons.append(f"{stage}_{error.reason}")
                ask.watch.failed(error.reason)
                return None

    async def _queue(self, ask: Ask) -> bool:
        await self._gate.enter(ask.deadline.allow(self._caps.queue, self._reserves.queue))
        return True

    async def _embed(self, ask: Ask, release: Release, known: Known) -> Floats:
        cold = known.origin == "cold"
        key = release.embedding_prefix + (f"\0{known.country}" if cold else ask.user_id)
        if cold and (embedding := self._cold.get(key)) is not None:
            return embedding
        timeout = ask.deadline.allow(self._caps.embed, self._reserves.embed)

        async def compute() -> Floats:
            embedding = await self._computed(release, known, timeout)
            if cold:
                self._cold.put(key, embedding)
            else:
                self._users.embedded(ask.user_id, release, known, embedding)
            return embedding

        return await self._embedding.get(key, compute, timeout)

    async def _computed(self, release: Release, known: Known, timeout_s: float) -> Floats:
        arrays = await self._triton.infer(release.embed, (known.row,), timeout_s)
        embedding = arrays[USER_EMBEDDING.name].reshape(-1)
        if not np.isfinite(embedding).all():
            raise BadAnswerError("the user tower answered a non-finite embedding")
        return embedding

    async def _ranked(self, ask: Ask, release: Release, known: Known, embedding: Floats) -> Candidates:
        timeout = ask.deadline.allow(self._caps.recommend, self._reserves.recommend)
        country = np.array([ask.country], np.int32)
        inputs = (known.row, known.history, embedding, country, ask.context)
        return unpack(await self._triton.infer(release.recommend, inputs, timeout))

    async def _retrieved(self, ask: Ask, release: Release, embedding: Floats) -> Candidates:
        timeout = ask.deadline.allow(self._caps.candidates, self._reserves.candidates)
        country = np.array([ask.country], np.int32)
        return unpack(await self._triton.infer(release.candidates, (embedding, country), timeout))


def unpack(arrays: Arrays) -> Candidates:
    """Triton's tensors, batch of one → candidates without the padding. Raises BadAnswerError on a wrong count."""
    count = int(arrays[COUNT.name][0, 0])
    keys, ids = arrays[ITEM_KEY.name][0], arrays[ITEM_ID.name][0]
    if not 0 <= count <= len(keys):
        raise BadAnswerError(f"count {count} of {len(keys)} candidates")
    scores, similarity = arrays.get(SCORES.name), arrays.get(SIMILARITY.name)
    return Candidates(
        keys=keys[:count],
        ids=ids.view(f"S{ids.shape[1]}")[:count, 0],
        rules=arrays[RULES.name][0, :count],
        objectives=None if scores is None else scores[:count],
        retrieval=None if similarity is None else similarity[0, :count],
    )
