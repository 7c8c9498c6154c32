"""What a line was trained on, to compare with later: frozen bins and their shares, `lines/L/reference.json`.

The reference is the data of the refit: the examples of every window through T, a sample of at most `SAMPLE` rows. Its
features are the columns of the ranker's matrix, its scores what the line's forest answers on them at position 0, as
in serving. Bins never change afterwards, so that figures of different days compare.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd

from feature_repo.schema import SCHEMA, Group
from feature_repo.vectors import Floats, Ints
from training.dataset import Dataset, Examples
from training.drift.examples import EVERY, sample
from training.drift.psi import Bins, Doubles, Kind, code_bins, independent, number_bins, shares, tenths
from training.errors import DataError
from training.lines import FOREST, REFERENCE
from training.matrices import Graphs
from training.models.forest import OBJECTIVES
from training.models.ranking import Table

Unit = Literal["user", "item", "request"]
UNITS: Mapping[Group, Unit] = {"user": "user", "item": "item", "context": "request", "cross": "user"}
SCORES: Unit = "user"  # rows of one unit repeat themselves, and so say less than as many independent ones
UNIT_OF = {column: UNITS[feature.group] for feature in SCHEMA.ranker_features for column in feature.columns}
KINDS: Mapping[str, Kind] = {
    column: "code" if feature.kind == "code" else "number"
    for feature in SCHEMA.ranker_features
    for column in feature.columns
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Columns [n] by name: the ranker's features, and the scores it gives. `independent` rows by `UNITS`."""

    features: Mapping[str, Floats]
    scores: Mapping[str, Floats]
    independent: Mapping[Unit, float]

    def __len__(self) -> int:
        return len(self.scores[OBJECTIVES[0]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A reference column: its bins and the share of rows in each."""

    bins: Bins
    shares: Doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What `reference.json` says: how many rows, of how many examples, how independent, and the columns by name."""

    rows: int
    examples: int
    independent: Mapping[Unit, float]
    features: Mapping[str, Frozen]
    scores: Mapping[str, Frozen]


def columns_of(dataset: Dataset, examples: Examples, line: Path) -> Columns:
    """What the line's own graphs make of the examples, and its own forest of that."""
    table = Table(examples=examples, matrix=Graphs(line).matrix(dataset, examples))
    answers = lgb.Booster(model_file=str(line / FOREST)).predict(table.unpositioned())
    return Columns(
        features=dict(zip(SCHEMA.ranker_names, table.matrix.T, strict=True)),
        scores=dict(zip(OBJECTIVES, np.asarray(answers, np.float32).T, strict=True)),
        independent={
            "user": independent(_codes(dataset.users.ids[examples.users])),
            "item": independent(_codes(dataset.items.ids[examples.items])),
            "request": independent(examples.request),
        },
    )


def _codes(ids: npt.NDArray[np.object_]) -> Ints:
    return pd.factorize(ids)[0].astype(np.int64)


def store_reference(dataset: Dataset, line: Path, seed: int) -> None:
    """Write what the refit was trained on beside it, for `python -m training drift`."""
    every = dataset.examples(*EVERY)
    examples = sample(every, seed)
    write(line, columns_of(dataset, examples, line), len(every))


def write(line: Path, columns: Columns, examples: int) -> None:
    """Freeze columns sampled from that many examples."""
    document = {
        "schema": SCHEMA.hash,
        "rows": len(columns),
        "examples": examples,
        "independent": columns.independent,
        "features": {name: _frozen(values, KINDS[name]) for name, values in columns.features.items()},
        "scores": {name: _frozen(values, "number") for name, values in columns.scores.items()},
    }
    (line / REFERENCE).write_bytes(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))


def read(line: Path) -> Reference:
    """A line's reference. Raises DataError when the line has none, or is of another schema than this code."""
    path = line / REFERENCE
    if not path.is_file():
        raise DataError(f"{path} is missing: the line was trained without a reference; run `python -m training train`")
    try:
        document = orjson.loads(path.read_bytes())
        if document["schema"] == SCHEMA.hash:
            return _reference(document)
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: not a reference this code wrote; run `python -m training train` again") from None
    raise DataError(
        f"{path}: a line of schema {document['schema']}, this code has {SCHEMA.hash}; "
        "run `python -m training train` again"
    )


def _reference(document: Mapping[str, Any]) -> Reference:
    return Reference(
        rows=document["rows"],
        examples=document["examples"],
        independent=document["independent"],
        features={name: _thawed(column) for name, column in document["features"].items()},
        scores={name: _thawed(column) for name, column in document["scores"].items()},
    )


def _frozen(values: Floats, kind: Kind) -> dict[str, Any]:
    bins = code_bins(values) if kind == "code" else number_bins(values)
    finite = np.sort(values[np.isfinite(values)].astype(np.float64))
    return {
        "kind": kind,
        "edges": bins.edges,
        "shares": shares(bins, values).tolist(),
        "quantiles": tenths(finite).tolist() if kind == "number" and len(finite) else [],
    }


def _thawed(column: Mapping[str, Any]) -> Frozen:
    bins = Bins(kind=column["kind"], edges=tuple(column["edges"]))
    return Frozen(bins=bins, shares=np.asarray(column["shares"], np.float64))
