"""The served inputs once more through the line that answered: its own towers, assembler and forest, on the CPU.

Items are the offline store's rows of the moment that the release's catalogue was made of. They are not in the log, so
a difference here is one of the items, of the index's codec or of the models' runtime; inputs are the served ones.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd

from deploy.settings import Settings
from feature_repo.schema import SCHEMA
from feature_repo.vectors import Floats, Ints
from training.dataset import Dataset
from training.lines import FACTS, FOREST, read_json
from training.matrices import Graphs
from training.skew.requests import Requests

MANIFEST = "manifest.json"  # of a release, which `exporters` writes
UNRANKED, NO_RELEASE, NO_LINE, ITEMS_MOVED_ON = "unranked", "no_release", "no_line", "items_moved_on"


@dataclass(slots=True, kw_only=True)
class Scored:
    """Scores of the items shown [m, 3], as served and as computed again; why requests were left out."""

    served: Floats
    again: Floats
    requests: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, served: Sequence[Floats | None], again: Floats) -> None:
        """Some requests' scores."""
        self.served = np.concatenate([self.served, *(scores for scores in served if scores is not None)])
        self.again = np.concatenate([self.again, again])
        self.requests += len(served)


def releases_of(settings: Settings, line: int) -> frozenset[str]:
    """The releases of a line that are still on disk."""
    found = [
        path.parent.name for path in settings.releases.glob(f"[0-9]*/{MANIFEST}") if read_json(path)["line"] == line
    ]
    return frozenset(found)


def score_again(settings: Settings, dataset: Dataset, requests: Requests) -> Scored:
    """Score what the requests were shown, release by release."""
    result = Scored(served=np.empty((0, 3), np.float32), again=np.empty((0, 3), np.float32))
    ranked = [n for n, scores in enumerate(requests.scores) if scores is not None and len(scores)]
    result.left_out[UNRANKED] = len(requests) - len(ranked)
    for release in sorted({requests.releases[n] for n in ranked}):
        chosen = [n for n in ranked if requests.releases[n] == release]
        facts = _facts(settings.releases / release / MANIFEST)
        line = settings.lines / str(facts["line"]) if facts else None
        if facts is None or line is None or not (line / FACTS).is_file():
            result.left_out[NO_RELEASE if facts is None else NO_LINE] += len(chosen)
            continue
        places = {n: _items(dataset, requests.items[n], str(facts["as_of"])) for n in chosen}
        there = {n: rows for n, rows in places.items() if (rows >= 0).all()}
        result.left_out[ITEMS_MOVED_ON] += len(places) - len(there)
        if there:
            result.add([requests.scores[n] for n in there], _score(line, dataset, requests, there))
    result.left_out = +result.left_out
    return result


def _facts(path: Path) -> Mapping[str, Any] | None:
    """A release's manifest; None where there is none, or it is of another schema."""
    if not path.is_file():
        return None
    facts = read_json(path)
    return facts if facts["schema_hash"] == SCHEMA.hash else None


def _items(dataset: Dataset, ids: Sequence[str], as_of: str) -> Ints:
    """Rows of the items' snapshots at the release's moment; -1 where there is none any more."""
    moments = np.full(len(ids), np.datetime64(as_of.removesuffix("+00:00"), "us"))
    wanted = pd.MultiIndex.from_arrays([np.array(ids, object), moments])
    return np.asarray(dataset.items.index.get_indexer(wanted), np.int64)


def _score(line: Path, dataset: Dataset, requests: Requests, places: Mapping[int, Ints]) -> Floats:
    """Scores of the items at these places of each request [m, 3]."""
    graphs, items = Graphs(line), np.concatenate(list(places.values()))
    chosen, sizes = np.array(list(places)), [len(rows) for rows in places.values()]
    owner = np.repeat(chosen, sizes)
    users = np.repeat(graphs.embed_users(requests.rows[chosen]), sizes, axis=0)
    similarity = np.einsum("nd,nd->n", users, graphs.embed_snapshots(dataset, items)).astype(np.float32)
    matrix = graphs.assemble(
        requests.rows[owner], requests.histories[owner], requests.contexts[owner], dataset.keys_of(items), similarity,
        dataset.items.rows[items],
    )  # fmt: skip
    return np.asarray(lgb.Booster(model_file=str(line / FOREST)).predict(matrix), np.float32)
