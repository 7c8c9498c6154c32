"""A release's models in this process: the files and kernels that Triton serves, one thread each, without Triton.

`LocalModels` does the stages; `InProcess` offers them as the orchestrator's `Connection`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from deploy.settings import Settings
from deploy.triton.backends.faiss.catalogue import Catalogue
from exporters.manifest import FILE, Manifest, read
from feature_repo.vectors import Floats, Ints
from model_repository.contract import (
    ASSEMBLE,
    CANDIDATE_SEARCH,
    ITEM_FEATURES,
    ITEM_KEY,
    RANKER,
    RECOMMEND,
    SCORES,
    SIMILARITY,
    USER_EMBEDDING,
    USER_TOWER,
    Model,
)  # fmt: skip
from model_repository.traffic import ServedModel
from orchestrator.call import Array, Arrays, Call
from perf.errors import PerfError
from training.lines import FOREST, Line

Score = Callable[[Floats], Floats]  # [n, RANKER_WIDTH] → [n, objectives]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The newest release of a workspace, found without the exporter's heavy imports."""

    manifest: Manifest
    folder: Path
    line: Line

    @classmethod
    def newest(cls, settings: Settings) -> "Release":
        """Raises PerfError when there is none."""
        found = [path.parent for path in settings.releases.glob(f"[0-9]*/{FILE}")]
        if not found:
            raise PerfError(f"{settings.workspace} has no release; run `make serve` first")
        folder = max(found, key=lambda path: int(path.name))
        manifest = read(folder)
        return cls(manifest=manifest, folder=folder, line=Line(manifest.line, settings.lines / str(manifest.line)))

    @property
    def candidates(self) -> int:
        """Items ranked for a request, k."""
        return self.manifest.index.candidates

    @property
    def forest(self) -> Path:
        """The line's LightGBM model."""
        return self.line.folder / FOREST

    @property
    def checkpoint(self) -> Path:
        """The same forest as Triton serves it."""
        return self.folder / RANKER.name / RANKER.artifact


class LocalModels:
    """User tower, candidates and assembler of a release; `score` is the forest. k is the release's candidates."""

    def __init__(self, release: Release, score: Score) -> None:
        self.score = score
        self._catalogue = Catalogue(release.folder / CANDIDATE_SEARCH.name, release.candidates)
        self._user_tower = session(release.folder, USER_TOWER)
        self._assemble = session(release.folder, ASSEMBLE)

    def embed(self, rows: Floats) -> Floats:
        """[n, USER_WIDTH] → [n, EMBEDDING_WIDTH]."""
        embeddings: Floats = self._user_tower.run(None, {USER_TOWER.inputs[0].name: rows})[0]
        return embeddings

    def search(self, embedding: Floats, country: Array) -> Arrays:
        """The candidates' tensors of one user, [1, k, …]."""
        return self._catalogue.search(embedding.reshape(1, -1), country.reshape(1))

    def matrix(self, row: Floats, history: Ints, context: Floats, found: Arrays) -> Floats:
        """One user with the candidates `found`: [k, RANKER_WIDTH]."""
        user = (row[None], history[None], context[None])
        items = [found[tensor.name] for tensor in (ITEM_KEY, SIMILARITY, ITEM_FEATURES)]
        names = [tensor.name for tensor in ASSEMBLE.inputs]
        matrix: Floats = self._assemble.run(None, dict(zip(names, (*user, *items), strict=True)))[0]
        return matrix.reshape(-1, matrix.shape[-1])

    def recommend(self, row: Floats, history: Ints, embedding: Floats, country: Array, context: Floats) -> Arrays:
        """What the ensemble answers: the candidates' tensors and their scores."""
        found = self.search(embedding, country)
        return found | {SCORES.name: self.score(self.matrix(row, history, context, found))}


class InProcess:
    """An `orchestrator.triton.Connection` that computes here and now; the caller's event loop waits for it."""

    def __init__(self, models: LocalModels) -> None:
        self._models = models

    async def infer(self, call: Call, inputs: Sequence[Array], timeout_s: float) -> Arrays:
        """See `Connection`; a computation cannot be late, because nothing else runs meanwhile."""
        del timeout_s
        if call.slot == USER_TOWER.name:
            return {USER_EMBEDDING.name: self._models.embed(inputs[0].reshape(1, -1))}
        if call.slot == CANDIDATE_SEARCH.name:
            return self._models.search(*inputs)
        assert call.slot == RECOMMEND.name, call.slot
        return self._models.recommend(*inputs)

    async def ready(self, model: ServedModel, timeout_s: float) -> bool:
        """See `Connection`."""
        del model, timeout_s
        return True

    async def close(self) -> None:
        """See `Connection`."""


def served_forest(checkpoint: Path) -> Score:
    """The forest engine that Triton's `fil` backend runs here, one thread."""
    from deploy.triton.backends.fil.forest import Forest

    score: Score = Forest(str(checkpoint), threads=1).predict
    return score


def lightgbm(forest: Path) -> Score:
    """`Booster.predict` of a line's forest, one thread."""
    import lightgbm as lgb

    booster = lgb.Booster(model_file=str(forest))
    return lambda matrix: np.asarray(booster.predict(matrix, num_threads=1), np.float32)


def embed(release: Release, rows: Sequence[Floats]) -> Floats:
    """User rows [USER_WIDTH] → [n, EMBEDDING_WIDTH]."""
    inputs = {USER_TOWER.inputs[0].name: np.stack(rows)}
    embeddings: Floats = session(release.folder, USER_TOWER).run(None, inputs)[0]
    return embeddings


def session(release: Path, model: Model) -> ort.InferenceSession:
    """A release's ONNX model on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = release / model.name / model.artifact
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
