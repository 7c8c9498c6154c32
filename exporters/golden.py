"""Golden queries: a published release must answer, through Triton, what its own artifacts say it should.

Its graphs are run by ONNX Runtime and its forest by Treelite here; that these in turn are what was trained was gated
when the release was built.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime as ort
import treelite

from deploy.triton.backends.pace import breathe
from exporters.errors import GateError
from exporters.gates import check_scores
from exporters.manifest import Manifest
from exporters.overlay import NO_KEYS
from exporters.queries import read_queries, read_ranker_rows
from exporters.records import read_features
from exporters.server import Server
from feature_repo.context import RequestContext, context_array
from feature_repo.vectors import Floats, Ints
from model_repository.contract import ASSEMBLE, CANDIDATE_SEARCH, RANKER, RECOMMEND, USER_TOWER, Model, recommend_name
from training.models.session import Arrays, run, session

LEAST_RECALL = 0.9
BREATH = 4  # times as long as a question took
ROWS = 250  # of the ranker at once, half of what a request asks for
SCORED = 8  # of the golden users; each has as many scores as there are candidates
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
    """Checks the release in the folder `release` on one server. `decided`: keys of items that the overlay lets in or
    out."""

    manifest: Manifest
    release: Path
    decided: Ints = field(default_factory=lambda: NO_KEYS)

    def check(self, server: Server) -> dict[str, float]:
        """Figures of all golden checks. Raises GateError, ManifestError or ServerError."""
        users, histories, nearest = read_queries(self.release / CANDIDATE_SEARCH.name)
        embeddings, difference = self._embed(server, users)
        asked = [self._request(*user) for user in zip(users, histories, embeddings, strict=True)]
        answers = [self._recommend(server, request) for request in asked]
        scored = zip(asked[:SCORED], answers, strict=False)
        return {
            "golden_user_tower": difference,
            "golden_ranker": self._ranker(server),
            "golden_recall": golden_recall(nearest, [_keys(answer) for answer in answers], self.decided),
            "golden_scores": max(self._difference(request, answer) for request, answer in scored),
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
        return max(
            check_scores("ranker on Triton", self._rank(server, rows), self._scores(rows))
            for rows in np.array_split(matrix, max(1, len(matrix) // ROWS))
        )

    def _rank(self, server: Server, rows: Floats) -> np.ndarray:
        with _breath():
            return server.infer(RANKER, *self._served(RANKER), {"input__0": rows})["output__0"]

    def _request(self, row: Floats, history: Ints, embedding: Floats) -> Arrays:
        return {
            "user_features": row[None],
            "user_history": history[None],
            "user_embedding": embedding[None],
            "country": np.zeros((1, 1), np.int32),
            "context_features": context_array(REQUEST)[None],
        }

    def _recommend(self, server: Server, request: Arrays) -> Arrays:
        """What the whole path answers."""
        with _breath():
            return server.infer(RECOMMEND, recommend_name(self.manifest.release), 1, request)

    def _difference(self, request: Arrays, answer: Arrays) -> float:
        """How far an answer's scores are from Treelite's on the same candidates."""
        keys = _keys(answer)
        user = {name: request[name] for name in ("user_features", "user_history", "context_features")}
        similarity = np.asarray(answer["similarity"][:, : len(keys)])
        item = {"item_key": keys[None], "similarity": similarity, "item_features": self._features(keys)[None]}
        expected = self._scores(run(self._assemble, user | item))
        return check_scores(recommend_name(self.manifest.release), answer["scores"][: len(keys)], expected)

    def _scores(self, matrix: Floats) -> np.ndarray:
        """The forest's [n, objectives] of ranker rows [n, RANKER_WIDTH]."""
        raw = np.asarray(treelite.gtil.predict(self._forest, matrix, nthread=1))
        breathe()
        return raw.reshape(len(matrix), -1)

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


def _keys(answer: Arrays) -> Ints:
    return np.asarray(answer["item_key"][0, : int(answer["count"][0, 0])], np.int64)


@contextmanager
def _breath() -> Iterator[None]:
    """Ask, then leave the server to those it serves."""
    started = time.monotonic()
    yield
    time.sleep(BREATH * (time.monotonic() - started))


def golden_recall(nearest: Ints, answers: list[Ints], decided: Ints = NO_KEYS) -> float:
    """Overlap with the exact search of the build over the items that sell everywhere (country 0).

    Items that the overlay decided since are left out: nobody expects them, and each that is answered takes a place.
    """
    decided = np.intersect1d(decided, np.concatenate([nearest.ravel(), *answers]))
    taken = [int(np.isin(answer, decided).sum()) for answer in answers]
    expected = [keys[~np.isin(keys, decided)][: len(keys) - t] for keys, t in zip(nearest, taken, strict=True)]
    hits = sum(len(np.intersect1d(e, a)) for e, a in zip(expected, answers, strict=True))
    recall = float(hits / max(sum(map(len, expected)), 1))
    if recall < LEAST_RECALL:
        raise GateError(f"candidates on Triton: golden recall {recall:.3f}, need {LEAST_RECALL}")
    return recall
