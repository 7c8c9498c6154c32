"""Sampled requests from the collected log: exactly the arrays that the models were given."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.schema import CONTEXT_WIDTH, HISTORY, SCHEMA, USER_WIDTH
from feature_repo.vectors import Floats, Ints
from training.errors import DataError
from training.served import parts
from training.served.entries import INPUTS
from training.tables import moments, texts

Moments = npt.NDArray[np.datetime64]
Objects = npt.NDArray[np.object_]
OTHER_SCHEMA, WRONG_SIZE, WRONG_HASH = "other_schema", "wrong_size", "wrong_hash"
COLD = "cold"  # `features_from` of a user without a row


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """n requests: rows [n, USER_WIDTH], histories [n, HISTORY], contexts [n, CONTEXT_WIDTH]; what was shown, as ids and
    scores [m, 3] (None below the ranker). `said`: the request's own words, those that the log holds.
    """

    ids: Objects
    users: Objects
    at: Moments
    releases: Objects
    origins: Objects
    rows: Floats
    histories: Ints
    contexts: Floats
    items: Sequence[Sequence[str]]
    scores: Sequence[Floats | None]
    said: Sequence[Mapping[str, str | None]]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def cold(self) -> npt.NDArray[np.bool_]:
        """Requests of users nobody knew [n]."""
        return np.asarray(self.origins == COLD, bool)


def read(served: Path, days: int, releases: frozenset[str] | None) -> tuple[Requests, Mapping[str, int]]:
    """The sampled requests of the log's last days, of some releases (None: of any); and how many could not be used.

    Raises DataError when there is none.
    """
    held = parts.days(served, INPUTS)
    newest = max(held, default=None)
    wanted = [place for day, place in held.items() if newest is not None and day > newest - timedelta(days=days)]
    tables = [parts.read(path) for place in wanted for path in parts.files(place)]
    if not tables:
        raise DataError(f"{served / INPUTS}: no sampled requests; serve some and run `python -m training collect`")
    table = pa.concat_tables(tables)
    if releases is not None:
        table = table.filter(pc.is_in(table["release"], pa.array(sorted(releases), pa.string())))
    flaws = [_flaw(row) for row in table.select(["schema", "user", "history", "context", "features"]).to_pylist()]
    good = table.filter(pa.array([flaw is None for flaw in flaws], pa.bool_()))
    broken = Counter(flaw for flaw in flaws if flaw is not None)
    if not good.num_rows:
        told = ", ".join(f"{reason} {n}" for reason, n in broken.items()) or "of the releases asked for there are none"
        raise DataError(f"{served / INPUTS}: no request to compare ({told})")
    return _requests(good), broken


def _flaw(row: Mapping[str, Any]) -> str | None:
    if row["schema"] != SCHEMA.hash:
        return OTHER_SCHEMA
    arrays = [row[name] for name in ("user", "history", "context")]
    if [len(array) for array in arrays] != [4 * USER_WIDTH, 8 * HISTORY, 4 * CONTEXT_WIDTH]:
        return WRONG_SIZE
    digest = hashlib.blake2b(b"".join(arrays), digest_size=8).hexdigest()
    return None if digest == row["features"] else WRONG_HASH


def _requests(table: pa.Table) -> Requests:
    return Requests(
        ids=texts(table["request_id"]),
        users=texts(table["user_id"]),
        at=moments(table["timestamp"]),
        releases=texts(table["release"]),
        origins=texts(table["features_from"]),
        rows=_array(table["user"], "<f4"),
        histories=_array(table["history"], "<i8"),
        contexts=_array(table["context"], "<f4"),
        items=table["items"].to_pylist(),
        scores=[None if rows is None else np.array(rows, np.float32) for rows in table["scores"].to_pylist()],
        said=[dict(words) for words in table["said"].to_pylist()],
    )


def _array(column: pa.ChunkedArray, dtype: str) -> npt.NDArray[Any]:
    return np.stack([np.frombuffer(content, dtype) for content in column.to_pylist()])
