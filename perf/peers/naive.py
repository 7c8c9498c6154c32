"""The textbook peer, written well: FastAPI, a thread for each request, synchronous Redis, Feast for the candidates'
features, FAISS, `Booster.predict`; a worker process for each core.

It holds the part of the catalogue that Feast can be filled with in a minute, and ranks and filters with the same
assembler, forest and rules as everybody.
"""

import time
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import faiss
import numpy as np
import orjson
import redis
from fastapi import FastAPI, Query

from deploy.settings import Settings, load_settings
from exporters.manifest import Manifest
from feature_repo.context import RequestContext, context_array
from feature_repo.rows import UserRow, display_key, unpack_user_row, user_key
from feature_repo.vectors import NO_HISTORY, Floats, Ints, cold_user
from model_repository.contract import ASSEMBLE, OBJECTIVES, USER_TOWER
from orchestrator import rules
from orchestrator.asked import CONTEXT_COUNTRY, CONTEXT_LANGUAGE
from orchestrator.policy import Policy
from orchestrator.recommend import DIGITS
from orchestrator.release import embedding_prefix
from orchestrator.rules import Candidates
from orchestrator.schemas import MOST_ITEMS
from orchestrator.stored import shown_key
from orchestrator.users import COUNTRY_COLUMN, LANGUAGE_COLUMN
from perf.peers.feast_items import open_items, read_items
from perf.peers.models import Release, lightgbm, session
from perf.peers.subset import Subset

REDIS_TIMEOUT_S = 5.0
Json = dict[str, Any]


def create_app() -> FastAPI:
    """The application, from the environment's settings."""
    app, textbook = FastAPI(title="textbook"), Textbook(load_settings())

    @app.get("/recommend")
    def recommend(user_id: str, num_items: Annotated[int, Query(ge=1, le=MOST_ITEMS)] = 20) -> Json:
        return textbook.recommend(user_id, num_items)

    @app.get("/readyz")
    def ready() -> Json:
        return {"status": "ready"}

    return app


class Textbook:
    """Everything a request touches; used by many threads at once."""

    def __init__(self, settings: Settings) -> None:
        release = Release.newest(settings)
        self._manifest = release.manifest
        self._policy = Policy()
        self._redis = redis.Redis.from_url(settings.redis_url, socket_timeout=REDIS_TIMEOUT_S)
        self._feast = open_items(settings)
        self._catalogue = FlatCatalogue(release)
        self._user_tower, self._assemble = session(release.folder, USER_TOWER), session(release.folder, ASSEMBLE)
        self._score = lightgbm(release.forest)

    def recommend(self, user_id: str, num_items: int) -> Json:
        """The answer's JSON, as the orchestrator writes it."""
        started = time.perf_counter()
        packed, cached = self._redis.mget(user_key(user_id), embedding_key(self._manifest, user_id))  # type: ignore[misc]
        user = unpack_user_row(packed) if packed else UserRow(values=cold_user(None), history=NO_HISTORY)
        embedding = np.frombuffer(cached, np.float32) if cached else self._embed(user_id, user)
        found = self._catalogue.search(embedding, int(user.values[COUNTRY_COLUMN]))
        scored = self._rank(user, found)
        scores = rules.score(scored, self._policy.rules)
        rows = rules.select(scores, scored, self._shown(user_id), num_items, self._policy.rules)
        items = self._show(scored, scores, rows)
        self._remember(user_id, scored.keys[rows])
        return {
            "request_id": uuid4().hex[:16], "user_id": user_id, "items": items,
            "model_version": str(self._manifest.release), "variant": "naive",
            "latency_ms": round(1000 * (time.perf_counter() - started), 3), "degraded": None,
        }  # fmt: skip

    def _embed(self, user_id: str, user: UserRow) -> Floats:
        embedding: Floats = self._user_tower.run(None, {USER_TOWER.inputs[0].name: user.values[None]})[0][0]
        key = embedding_key(self._manifest, user_id)
        self._redis.set(key, embedding.tobytes(), ex=self._policy.embedding_ttl_s)
        return embedding

    def _rank(self, user: UserRow, found: Candidates) -> Candidates:
        features = read_items(self._feast, [item_id.decode() for item_id in found.ids.tolist()])
        assert found.retrieval is not None
        inputs: tuple[Any, ...] = (user.values, user.history, _context(user), found.keys, found.retrieval, features)
        named = {tensor.name: array[None] for tensor, array in zip(ASSEMBLE.inputs, inputs, strict=True)}
        objectives = self._score(self._assemble.run(None, named)[0].reshape(len(found.keys), -1))
        return Candidates(keys=found.keys, ids=found.ids, rules=found.rules, objectives=objectives)

    def _shown(self, user_id: str) -> Ints:
        entries = self._redis.lrange(shown_key(user_id), 0, self._policy.shown.items - 1)
        return np.frombuffer(b"".join(entries), np.int64)  # type: ignore[arg-type]

    def _remember(self, user_id: str, keys: Ints) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.lpush(shown_key(user_id), *(key.tobytes() for key in keys))
        pipeline.ltrim(shown_key(user_id), 0, self._policy.shown.items - 1)
        pipeline.expire(shown_key(user_id), self._policy.shown.ttl_s)
        pipeline.execute()

    def _show(self, scored: Candidates, scores: rules.Floats, rows: rules.Rows) -> list[Json]:
        ids = [item_id.decode() for item_id in scored.ids[rows].tolist()]
        displays: list[bytes | None] = self._redis.mget(map(display_key, ids)) if ids else []  # type: ignore[assignment]
        assert scored.objectives is not None
        return [
            {
                "item_id": item_id, "rank": rank, "score": round(float(scores[row]), DIGITS),
                "metadata": orjson.loads(display or b"{}"),
                "scores": {name: round(float(v), DIGITS) for name, v in zip(OBJECTIVES, objectives, strict=True)},
            }
            for rank, (item_id, row, display, objectives) in enumerate(
                zip(ids, rows, displays, scored.objectives[rows], strict=True), 1
            )
        ]  # fmt: skip


class FlatCatalogue:
    """Exact search in the items Feast holds, with their rule columns."""

    def __init__(self, release: Release) -> None:
        self._items = Subset.of(release.folder)
        self._k = min(release.candidates, len(self._items.rows))
        vectors = self._items.vectors
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)
        faiss.omp_set_num_threads(1)

    def search(self, embedding: Floats, country: int) -> Candidates:
        """The k nearest items; what may not be shown is marked in their rules."""
        scores, rows = self._index.search(embedding[None], self._k)
        chosen, items = rows[0], self._items
        columns = np.column_stack([items.rules[chosen], items.in_region(country)[chosen]])
        return Candidates(keys=items.keys[chosen], ids=items.id_bytes[chosen], rules=columns, retrieval=scores[0])


def embedding_key(manifest: Manifest, user_id: str) -> str:
    """Redis key of a cached user embedding, the orchestrator's own."""
    return embedding_prefix(manifest) + user_id


def _context(user: UserRow) -> Floats:
    context = context_array(RequestContext(at=datetime.now(UTC)))
    context[CONTEXT_COUNTRY], context[CONTEXT_LANGUAGE] = user.values[[COUNTRY_COLUMN, LANGUAGE_COLUMN]]
    return context
