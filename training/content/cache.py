"""Encoded titles on disk, by hash of the text: a title is encoded once, whatever item, source or day it appears in.

A shard is two files, `<name>.vectors.npy` float16 [n, TEXT_WIDTH] and `<name>.keys.npy` int64 [n]. The keys are written
last, by a rename, so a shard that a kill interrupted does not exist; a shard's name is the hash of its keys, so that
two runs at once write the same file or different ones.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feature_repo.schema import TEXT_WIDTH
from feature_repo.vectors import Floats, Ints

SHARD = 16_384  # texts encoded between two writes: what a kill can lose
VECTORS, KEYS = ".vectors.npy", ".keys.npy"


def text_keys(texts: Sequence[str]) -> Ints:
    """BLAKE2b-8 of each text: [n]. Ten million titles share one with a chance of 3 in a million."""
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, "<i8").astype(np.int64)


@dataclass(frozen=True)
class TitleCache:
    """The cache of one encoder in one folder."""

    folder: Path

    def fill(self, texts: Sequence[str], encode: Callable[[Sequence[str]], Floats]) -> int:
        """Encode the distinct texts that are missing; returns how many."""
        distinct = sorted(set(texts))
        missing = [distinct[i] for i in np.flatnonzero(self._places(text_keys(distinct)) < 0)]
        for start in range(0, len(missing), SHARD):
            part = missing[start : start + SHARD]
            self._add(text_keys(part), encode(part))
        return len(missing)

    def vectors(self, keys: Ints) -> Floats:
        """The vectors of the keys: [n, TEXT_WIDTH]. Raises KeyError when one was never encoded."""
        places = self._places(keys)
        if (places < 0).any():
            raise KeyError(f"{int((places < 0).sum())} titles are not in {self.folder}")
        result, first = np.empty((len(keys), TEXT_WIDTH), np.float32), 0
        for shard in self._shards():
            held = np.load(shard.with_name(shard.name.removesuffix(KEYS) + VECTORS), mmap_mode="r")
            mine = (places >= first) & (places < first + len(held))
            result[mine] = held[places[mine] - first]
            first += len(held)
        return result

    def _places(self, keys: Ints) -> Ints:
        """Place of each key over all shards in order, -1 where it is missing: [n]."""
        shards = self._shards()
        if not shards:
            return np.full(len(keys), -1, np.int64)
        held = np.concatenate([np.load(shard) for shard in shards])
        order = np.argsort(held, kind="stable")
        found = order[np.minimum(np.searchsorted(held, keys, sorter=order), len(held) - 1)]
        return np.where(held[found] == keys, found, -1)

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{KEYS}"))

    def _add(self, keys: Ints, vectors: Floats) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.blake2b(keys.tobytes(), digest_size=8).hexdigest()
        contents: dict[str, npt.NDArray[np.generic]] = {VECTORS: vectors.astype(np.float16), KEYS: keys}
        for suffix, content in contents.items():
            partial = self.folder / f"{name}{suffix}.partial"
            with partial.open("wb") as file:
                np.save(file, content)
            partial.rename(self.folder / f"{name}{suffix}")
