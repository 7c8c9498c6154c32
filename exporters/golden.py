"""Golden queries: a published release must answer, through Triton, what its own artifacts say it should.

Its graphs are run by ONNX Runtime and its forest by Treelite here; that these in turn are what was trained was gated
when the release was built.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import treelite

from exporters.blocks import read_features
from exporters.errors import GateError
from exporters.gates import check_scores
from exporters.manifest import Manifest
from exporters.queries import read_queries, read_ranker_rows
from exporters.server import Server
from feature_repo.context import RequestContext, context_array
from feature_repo.vectors import Floats, Ints
from model_repository.contract import ASSEMBLE, CANDIDATE_SEARCH, RANKER, RECOMMEND, USER_TOWER, Model, recommend_name
from training.models.session import run, session

LEAST_RECALL = 0.9
TOWER_TOLERANCE = 1e-5
REQUEST = RequestContext(
    at=datetime(2026, 1, 1, 12, tzinfo=UTC),
    device="mobile",
    system="android",
    country="DE",
    language="de",
    time_zone="Europe/Berlin",
    placement="home",
    referrer="search",
    session_depth=3,
)


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Checks the release in the folder `release` on one server."""

    manifest: Manifest
    release: Path

    def check(self, server: Server) -> dict[str, float]:
        """Figures of all golden checks. Raises GateError, ManifestError or ServerError."""
        users, histories, nearest = read_queries(self.release / CANDIDATE_SEARCH.name)
        embeddings, difference = self._embed(server, users)
        answers = [self._recommend(server, *user) for user in zip(users, histories, embeddings, strict=True)]
        return {
            "golden_user_tower": difference,
            "golden_ranker": self._ranker(server),
            "golden_recall": golden_recall(nearest, [keys for keys, _ in answers]),
            "golden_scores": max(worst for _, worst in answers),
        }

    @cached_property
    def _forest(self) -> treelite.Model:
        return treelite.Model.deserialize(self._artifact(RANKER))

    @cached_property
    def _assemble(self) -> ort.InferenceSession:
        return session(self._artifact(ASSEMBLE), 1)

    def _embed(self, server: Server, rows: Floats) -> tuple[Floats, float]:
        found = server.infer(USER_TOWER, *self._served(USER_TOWER), {"user_features": rows})["user_embedding"]
        expected = run(session(self._artifact(USER_TOWER), 1), {"user_features": rows})
        difference = float(np.abs(found.astype(np.float32) - expected).max())
        if not difference <= TOWER_TOLERANCE:
            raise GateError(f"user_tower on Triton differs from its graph by {difference:.2e}")
        return expected, difference

    def _ranker(self, server: Server) -> float:
        """The served forest against Treelite, edge rows included."""
        matrix = read_ranker_rows(self.release / RANKER.name)
        found = server.infer(RANKER, *self._served(RANKER), {"input__0": matrix})["output__0"]
        return check_scores("ranker on Triton", found, self._scores(matrix))

    def _recommend(self, server: Server, row: Floats, history: Ints, embedding: Floats) -> tuple[Ints, float]:
        """Keys the whole path answers, and how far its scores are from Treelite's on the same candidates."""
        request: dict[str, Any] = {
            "user_features": row[None],
            "user_history": history[None],
            "context_features": context_array(REQUEST)[None],
        }
        searched = {"user_embedding": embedding[None], "country": np.zeros((1, 1), np.int32)}
        number = self.manifest.release
        answer = server.infer(RECOMMEND, recommend_name(number), 1, request | searched)
        count = int(answer["count"][0, 0])
        keys = np.asarray(answer["item_key"][0, :count], np.int64)
        matrix = run(
            self._assemble,
            {
                **request,
                "item_key": keys[None],
                "similarity": answer["similarity"][:, :count],
                "item_features": self._features(keys)[None],
            },
        )
        return keys, check_scores(recommend_name(number), answer["scores"][:count], self._scores(matrix))

    def _scores(self, matrix: Floats) -> np.ndarray:
        """The forest's [n, objectives] of ranker rows [n, RANKER_WIDTH]."""
        return np.asarray(treelite.gtil.predict(self._forest, matrix)).reshape(len(matrix), -1)

    @cached_property
    def _rows(self) -> tuple[Ints, Ints]:
        """All keys ascending, and the row of each."""
        stored = np.load(self.release / CANDIDATE_SEARCH.name / "keys.npy")
        order = np.argsort(stored)
        return stored[order], order

    def _features(self, keys: Ints) -> Floats:
        ascending, row_of = self._rows
        return read_features(self.release / CANDIDATE_SEARCH.name, row_of[np.searchsorted(ascending, keys)])

    def _artifact(self, model: Model) -> Path:
        return self.release / model.name / model.artifact

    def _served(self, model: Model) -> tuple[str, int]:
        return self.manifest.slots[model.name].model, self.manifest.version(model.name)


def golden_recall(nearest: Ints, answers: list[Ints]) -> float:
    """Overlap with the exact search of the build over the items that sell everywhere (country 0)."""
    hits = sum(len(np.intersect1d(e, a)) for e, a in zip(nearest, answers, strict=True))
    recall = float(hits / max(nearest.size, 1))
    if recall < LEAST_RECALL:
        raise GateError(f"candidates on Triton: golden recall {recall:.3f}, need {LEAST_RECALL}")
    return recall
