"""Golden queries: a published release must answer, through Triton, what its own artifacts say it should."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import onnxruntime as ort

from deploy.settings import Settings
from exporters.blocks import read_features
from exporters.build import gate_matrix
from exporters.errors import GateError
from exporters.forest import check_scores
from exporters.generation import golden_of
from exporters.manifest import Manifest
from exporters.server import Server
from feature_repo.context import RequestContext, context_array
from feature_repo.vectors import Floats, Ints
from model_repository.contract import CANDIDATE_SEARCH, RANKER, RECOMMEND, USER_TOWER, recommend_name
from training.dataset import Dataset
from training.lines import ASSEMBLE, FOREST, Line
from training.matrices import Graphs
from training.models.onnx import run, session

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
    """Checks one release on one server."""

    settings: Settings
    manifest: Manifest
    line: Line
    release: Path

    def check(self, server: Server) -> dict[str, float]:
        """Figures of all golden checks. Raises GateError or ServerError."""
        dataset = Dataset(self.settings.features)
        rows, histories, nearest = golden_of(self.release / CANDIDATE_SEARCH.name)
        embeddings, difference = self._embed(server, rows)
        answers = [self._recommend(server, *user) for user in zip(rows, histories, embeddings, strict=True)]
        return {
            "golden_user_tower": difference,
            "golden_ranker": self._ranker(server, dataset),
            "golden_recall": golden_recall(nearest, [keys for keys, _ in answers]),
            "golden_scores": max(worst for _, worst in answers),
        }

    @cached_property
    def _forest(self) -> lgb.Booster:
        return lgb.Booster(model_file=str(self.line.folder / FOREST))

    @cached_property
    def _assemble(self) -> ort.InferenceSession:
        return session(self.line.folder / ASSEMBLE, 1)

    def _embed(self, server: Server, rows: Floats) -> tuple[Floats, float]:
        found = server.infer(USER_TOWER, *self._served("user_tower"), {"user_features": rows})["user_embedding"]
        expected = Graphs(self.line.folder).embed_users(rows)
        difference = float(np.abs(found.astype(np.float32) - expected).max())
        if not difference <= TOWER_TOLERANCE:
            raise GateError(f"user_tower on Triton differs from its graph by {difference:.2e}")
        return expected, difference

    def _ranker(self, server: Server, dataset: Dataset) -> float:
        """The served forest against LightGBM, edge rows included."""
        matrix = gate_matrix(dataset, self.line, self._forest)
        found = server.infer(RANKER, *self._served("ranker"), {"input__0": matrix})["output__0"]
        return check_scores("ranker on Triton", found, self._forest.predict(matrix))

    def _recommend(self, server: Server, row: Floats, history: Ints, embedding: Floats) -> tuple[Ints, float]:
        """Keys the whole path answers, and how far its scores are from LightGBM on the same candidates."""
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
        expected = self._forest.predict(matrix)
        return keys, check_scores(recommend_name(number), answer["scores"][:count], expected)

    @cached_property
    def _rows(self) -> tuple[Ints, Ints]:
        """All keys ascending, and the row of each."""
        stored = np.load(self.release / CANDIDATE_SEARCH.name / "keys.npy")
        order = np.argsort(stored)
        return stored[order], order

    def _features(self, keys: Ints) -> Floats:
        ascending, row_of = self._rows
        return read_features(self.release / CANDIDATE_SEARCH.name, row_of[np.searchsorted(ascending, keys)])

    def _served(self, slot: str) -> tuple[str, int]:
        return self.manifest.slots[slot].model, self.manifest.version(slot)


def golden_recall(nearest: Ints, answers: list[Ints]) -> float:
    """Overlap with the exact search of the build over the items that sell everywhere (country 0)."""
    hits = sum(len(np.intersect1d(e, a)) for e, a in zip(nearest, answers, strict=True))
    recall = float(hits / max(nearest.size, 1))
    if recall < LEAST_RECALL:
        raise GateError(f"candidates on Triton: golden recall {recall:.3f}, need {LEAST_RECALL}")
    return recall
