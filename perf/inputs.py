"""perf_analyzer's input data from a release: real requests of the test window, answered by the release itself.

Users and contexts are those of logged requests. What a later stage reads is what the stage before it answered on the
running Triton, so that candidates are those users' own and come from the release's own table, whatever its size.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporters.manifest import Manifest
from exporters.server import Server
from feature_repo.schema import SCHEMA
from feature_repo.vectors import Ints
from model_repository.contract import ASSEMBLE, BY_NAME, CANDIDATE_SEARCH, MODELS, RANKER, RECOMMEND, Model
from perf.errors import PerfError
from training.dataset import Dataset
from training.lines import Line
from training.matrices import Graphs

REQUESTS = 64
RANKED = 8  # requests whose assembled rows the forest is given; each is hundreds of rows
Rows = Mapping[str, npt.NDArray[np.generic]]
Requests = dict[str, npt.NDArray[np.generic]]


def write_inputs(server: Server, manifest: Manifest, line: Line, dataset: Dataset, folder: Path) -> dict[str, Path]:
    """One JSON file for each served model, `REQUESTS` different requests in it: {model name: path}.

    `dataset` is that of the users, which for a catalogue of other items is the one its line was trained on. Raises
    PerfError without logged requests, ServerError where the release does not answer.
    """
    asked = _asked(dataset, line)
    found = [
        _through(server, manifest, {name: rows[i : i + 1] for name, rows in asked.items()}) for i in range(REQUESTS)
    ]
    rows = asked | {name: np.concatenate([answer[name] for answer in found]) for name in found[0]}
    folder.mkdir(parents=True, exist_ok=True)
    return {
        model.name: _write(folder / f"{model.name}.json", model, _of(model, rows)) for model in (*MODELS, RECOMMEND)
    }


def _asked(dataset: Dataset, line: Line) -> Requests:
    """What requests carry, by tensor name: [REQUESTS, …]."""
    examples = dataset.examples("test")
    if not len(examples):
        raise PerfError(f"{dataset.folder}: no logged requests in the test window to take inputs from")
    chosen = np.random.default_rng(0).choice(len(examples), REQUESTS)
    users, context = examples.users[chosen], examples.context[chosen]
    context[:, SCHEMA.offset("context_position")] = 0  # unknown when a request is answered
    return {
        "user_features": dataset.users.rows[users],
        "user_history": dataset.histories[users],
        "user_embedding": Graphs(line.folder).embed_users(dataset.users.rows[users]),
        "country": context[:, [SCHEMA.offset("context_country")]].astype(np.int32),
        "context_features": context,
        **_items(dataset, examples.items[chosen]),
    }


def _items(dataset: Dataset, items: Ints) -> Requests:
    """What the item tower reads, by tensor name; `item_row` because elsewhere `item_features` are a request's items."""
    return {"item_row": dataset.items.rows[items], "item_content": dataset.content_of(items)}


def _through(server: Server, manifest: Manifest, request: Requests) -> Rows:
    """One request's candidates and its assembled matrix, as the release's own models answer them."""
    answer = dict(_ask(server, manifest, CANDIDATE_SEARCH, request))
    matrix = _ask(server, manifest, ASSEMBLE, request | answer)[ASSEMBLE.outputs[0].name]
    kept = {name: answer[name] for name in ("item_key", "similarity", "item_features")}
    return kept | {"input__0": matrix.reshape(1, -1, matrix.shape[-1])}


def _ask(server: Server, manifest: Manifest, model: Model, rows: Rows) -> Rows:
    inputs = {tensor.name: rows[tensor.name] for tensor in model.inputs}
    return server.infer(BY_NAME[model.name], model.name, manifest.version(model.name), inputs)


def _of(model: Model, rows: Rows) -> Rows:
    """The model's own view of the rows: one item for the item tower, rows of whole requests for the forest."""
    if model is RANKER:
        matrices = rows["input__0"][:RANKED]
        return {"input__0": matrices.reshape(-1, matrices.shape[-1])}
    if model.name == "item_tower":
        return {"item_features": rows["item_row"], "item_content": rows["item_content"]}
    return {tensor.name: rows[tensor.name] for tensor in model.inputs}


def _write(path: Path, model: Model, rows: Rows) -> Path:
    count = len(next(iter(rows.values())))
    data = [{tensor.name: _content(model, rows[tensor.name][i]) for tensor in model.inputs} for i in range(count)]
    path.write_text(json.dumps({"data": data}))
    return path


def _content(model: Model, row: npt.NDArray[np.generic]) -> dict[str, list[float]]:
    """A tensor as perf_analyzer reads it; a model without batching sees the batch of one in the shape."""
    unbatched = model.cpu.max_batch == 0
    return {"content": row.reshape(-1).tolist(), "shape": [*((1,) if unbatched else ()), *row.shape]}
