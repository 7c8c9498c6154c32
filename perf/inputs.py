"""perf_analyzer's input data from a release: real users, their embeddings, real items and assembled rows."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deploy.settings import Settings
from feature_repo.context import RequestContext, context_array
from feature_repo.schema import country_code
from feature_repo.vectors import Floats
from model_repository.contract import CANDIDATES, MODELS, RECOMMEND, Model
from training.dataset import Dataset
from training.lines import Line
from training.matrices import Graphs

REQUESTS = 64
Rows = Mapping[str, npt.NDArray[np.generic]]


def write_inputs(settings: Settings, line: Line, folder: Path) -> dict[str, Path]:
    """One JSON file for each served model, `REQUESTS` different requests in it: {model name: path}."""
    rows = _rows(settings, line)
    folder.mkdir(parents=True, exist_ok=True)
    return {model.name: _write(folder / f"{model.name}.json", model, rows) for model in (*MODELS, RECOMMEND)}


def _write(path: Path, model: Model, rows: Rows) -> Path:
    shapes = {tensor.name: tensor.shape for tensor in model.inputs}
    data = [
        {name: {"content": rows[name][i].reshape(-1).tolist(), "shape": list(shape)} for name, shape in shapes.items()}
        for i in range(REQUESTS)
    ]
    if model.name == "item_tower":  # the tower reads one item, the assembler five hundred
        for i, request in enumerate(data):
            request["item_features"]["content"] = rows["item_features"][i, 0].tolist()
    path.write_text(json.dumps({"data": data}))
    return path


def _rows(settings: Settings, line: Line) -> Rows:
    """Every tensor a request may carry, by name, [REQUESTS, …]."""
    dataset, graphs, rng = Dataset(settings.features), Graphs(line.folder), np.random.default_rng(0)
    examples = dataset.examples("test")
    users = rng.choice(len(dataset.users.rows), REQUESTS)
    items = rng.choice(len(dataset.items.rows), (REQUESTS, CANDIDATES))
    embeddings = graphs.embed_users(dataset.users.rows[users])
    vectors = graphs.embed_snapshots(dataset, items.reshape(-1)).reshape(*items.shape, -1)
    contexts = [_context(country) for country in ("DE", "US", "FR", None)]
    return {
        "user_features": dataset.users.rows[users],
        "user_history": dataset.histories[users],
        "user_embedding": embeddings,
        "country": np.full((REQUESTS, 1), country_code("DE"), np.int32),
        "context_features": np.stack([contexts[i % 4] for i in range(REQUESTS)]),
        "item_key": dataset.keys_of(items.reshape(-1)).reshape(items.shape),
        "item_features": dataset.items.rows[items],
        "item_content": dataset.content_of(items[:, 0]),
        "similarity": np.einsum("nd,nkd->nk", embeddings, vectors),
        "input__0": graphs.matrix(dataset, examples)[rng.choice(len(examples), REQUESTS)],
    }


def _context(country: str | None) -> Floats:
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    said = RequestContext(at=at, device="mobile", system="android", country=country, language="de", placement="home")
    return context_array(said)
