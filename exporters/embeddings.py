"""Item embeddings of the generation before, by tower: a new generation encodes only what is new or changed.

`embeddings/<tower digest>/items.npy` holds one record for each item, ascending by key: the key, a digest of what the
tower was given, the vector. It is one file, memory-mapped, and replaced by one rename: a build that is killed leaves
the old one. Losing it costs time, nothing else.

An item's age grows with the clock, so taken literally every item changes every hour. The tower reads an age as
log(1 + days); the digest reads it in steps of `AGE_STEP` on that scale. An item of 300 days is encoded again when it is
15 days older, one of a day after two hours, and everything else a tower reads counts to the last bit.
"""

import hashlib
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.errors import GateError
from exporters.manifest import Slot
from exporters.server import Server
from feature_repo.schema import SCHEMA
from feature_repo.vectors import Floats, Ints
from model_repository.contract import EMBEDDING_WIDTH, ITEM_TOWER

FILE = "items.npy"
RECORD = np.dtype([("key", "<i8"), ("digest", "<i8"), ("vector", "<f4", (EMBEDDING_WIDTH,))])
AGES = ("item_days_since_created", "item_days_since_event")
AGE_STEP = 0.05  # of log(1 + days)
CHUNK = 65_536
Encode = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedTower:
    """The item tower that Triton serves: [n, ITEM_WIDTH] and [n, CONTENT_WIDTH] → [n, EMBEDDING_WIDTH]."""

    server: Server
    slot: Slot
    batch: int

    def __call__(self, features: Floats, content: Floats) -> Floats:
        """Encode, a batch at a time. Raises ServerError."""
        starts = range(0, len(features), self.batch)
        return np.concatenate([self._encode(slice(i, i + self.batch), features, content) for i in starts])

    def _encode(self, rows: slice, features: Floats, content: Floats) -> Floats:
        inputs = {"item_features": features[rows], "item_content": content[rows]}
        answer = self.server.infer(ITEM_TOWER, self.slot.model, self.slot.version, inputs)
        return answer["item_embedding"].astype(np.float32, copy=False)


class Embeddings:
    """The items `keys` [n], what a tower is given of each, and which vectors its `folder` knows.

    `missing` are the rows that have to be encoded: those that are new, and those that changed.
    """

    def __init__(self, folder: Path, keys: Ints, features: Floats, content: Floats) -> None:
        self._folder, self._keys, self._given = folder, keys, (features, content)
        self._digests = input_digests(features, content)
        self._stored = _read(folder / FILE)
        self._places = _places(self._stored, keys, self._digests)
        self.missing: Ints = np.flatnonzero(self._places < 0)

    @property
    def current(self) -> bool:
        """Whether the folder holds exactly these items as they are."""
        return not len(self.missing) and len(self._stored) == len(self._keys)

    def vectors(self, encode: Encode) -> Floats:
        """Vectors of all items [n, EMBEDDING_WIDTH], the missing ones encoded; the folder knows them from then on.

        Raises GateError when the tower answers non-finite vectors; the folder is as it was then.
        """
        result = np.empty((len(self._keys), EMBEDDING_WIDTH), np.float32)
        known = np.flatnonzero(self._places >= 0)
        for rows in (known[i : i + CHUNK] for i in range(0, len(known), CHUNK)):
            result[rows] = self._stored["vector"][self._places[rows]]
        for rows in (self.missing[i : i + CHUNK] for i in range(0, len(self.missing), CHUNK)):
            result[rows] = self._encoded(encode, rows)
        if not self.current:
            self._write(result)
        return result

    def _encoded(self, encode: Encode, rows: Ints) -> Floats:
        vectors = encode(*(part[rows] for part in self._given))
        broken = rows[~np.isfinite(vectors).all(axis=1)]
        if len(broken):
            raise GateError(
                f"the item tower answers non-finite vectors for {len(broken)} items, first key "
                f"{self._keys[broken[0]]}; train the line again"
            )
        return vectors

    def _write(self, vectors: Floats) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f".{FILE}"
        records = np.lib.format.open_memmap(draft, mode="w+", dtype=RECORD, shape=(len(vectors),))
        order = np.argsort(self._keys, kind="stable")
        for part in (slice(i, i + CHUNK) for i in range(0, len(order), CHUNK)):
            rows = order[part]
            records["key"][part], records["digest"][part] = self._keys[rows], self._digests[rows]
            records["vector"][part] = vectors[rows]
        records.flush()
        draft.rename(self._folder / FILE)


def forget_towers(folder: Path, kept: Collection[str]) -> None:
    """Remove the embeddings of every tower whose digest is not among those `kept`."""
    for tower in folder.iterdir() if folder.is_dir() else ():
        if tower.name not in kept:
            shutil.rmtree(tower)


def input_digests(features: Floats, content: Floats) -> Ints:
    """BLAKE2b-8 of what the tower is given of each item [n]; ages count in steps."""
    digests = np.empty(len(features), np.int64)
    for first in range(0, len(features), CHUNK):
        rows = slice(first, first + CHUNK)
        settled = features[rows].copy()
        for column in map(SCHEMA.offset, AGES):
            settled[:, column] = np.round(np.log1p(settled[:, column]) / AGE_STEP)
        digests[rows] = _hashed(settled, np.ascontiguousarray(content[rows]))
    return digests


def _hashed(features: Floats, content: Floats) -> Ints:
    def hashed(row: int) -> bytes:
        digest = hashlib.blake2b(features[row].data, digest_size=8)
        digest.update(content[row].data)
        return digest.digest()

    return np.frombuffer(b"".join(map(hashed, range(len(features)))), "<i8").astype(np.int64)


def _read(path: Path) -> npt.NDArray[Any]:
    """The records; none where there is no file, or one that another revision wrote or a crash tore."""
    try:
        records = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        records = np.empty(0, RECORD)
    return records if records.dtype == RECORD else np.empty(0, RECORD)


def _places(records: npt.NDArray[Any], keys: Ints, digests: Ints) -> Ints:
    """Place of each item's record, -1 where there is none of this digest: [n]."""
    if not len(records):
        return np.full(len(keys), -1, np.int64)
    known = np.ascontiguousarray(records["key"])
    found = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    same = (known[found] == keys) & (records["digest"][found] == digests)
    return np.where(same, found, -1)
