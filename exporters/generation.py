"""A generation: index, item table and golden queries of one catalogue, in two passes over it.

The first pass looks (exact neighbours of real queries, a sample, the longest id, the regions), the second writes. What
is held is the index, the sample and a chunk: a source that streams (the synthetic catalogues of `perf`) is built in
bounded memory. The trained catalogue is one chunk, because Feast's offline read gives it whole.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import faiss
import numpy as np

from exporters.errors import ExportError
from exporters.exact import ExactSearch
from exporters.index import IndexSpec, Kind, empty_index, tune_search
from exporters.manifest import IndexFacts
from exporters.table import ItemTable, TableWriter, encoded, sellable_everywhere
from exporters.tune import DEPTH, DIRECT_ITEMS, MOST_LISTS, Evidence, Trial, choose, require_memory
from feature_repo.vectors import Floats, Ints
from model_repository.contract import CANDIDATE_SEARCH

SAMPLE = 640_000  # vectors that k-means and codecs are trained on, at most
GOLDEN = ("golden_users", "golden_histories", "golden_keys")
Chunk = tuple[ItemTable, Floats]
Report = Callable[[str], None]


class Source(Protocol):
    """A catalogue by name: `items` of them, in chunks of a table and its vectors [n, d]; the same ones every time.

    `queries` [q, d], where given, are what the index is measured with instead of real users' embeddings.
    """

    name: str
    items: int
    queries: Floats | None

    def chunks(self) -> Iterator[Chunk]:
        """From the first row to the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Real users to measure with: rows [u, USER_WIDTH], histories [u, HISTORY], embeddings [u, d]; `golden` of them
    are kept for the publisher to ask Triton."""

    rows: Floats
    histories: Ints
    embeddings: Floats
    golden: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """How to index: of one kind or whatever measures best, within `memory_bytes`; `candidates` is k."""

    kind: Kind | None
    memory_bytes: float
    candidates: int
    most_lists: int = MOST_LISTS


@dataclass(slots=True)
class _Seen:
    """What the first pass learns."""

    exact: ExactSearch
    golden: ExactSearch
    sample: Floats
    id_bytes: int = 1
    regions: set[str] = field(default_factory=set)


def write_generation(
    folder: Path, source: Source, users: Users, choices: Choices, tower_digest: str, report: Report
) -> IndexFacts:
    """Write everything `candidates` serves into `folder`. Raises ExportError."""
    report(f"looking at {source.items} items")
    seen = _look(source, users, choices.candidates)
    spec, start = _decide(source.items, seen, choices, report)
    report(f"writing: {spec.kind} index, {spec.codec}" + (f", {spec.nlist} lists" if spec.nlist else ""))
    index = empty_index(spec, seen.sample, start.centroids if start else None)
    with TableWriter(folder, source.items, seen.id_bytes, seen.regions) as writer:
        for table, vectors in source.chunks():
            index.add(vectors)
            writer.add(table)
        facts = tune_search(index, spec, seen.exact, choices.candidates, start.setting if start else 0)
        if start is not None:
            facts = facts.model_copy(update={"milliseconds": round(start.milliseconds, 4)})
        keys = writer.finish(facts, tower_digest)
    faiss.write_index(index, str(folder / CANDIDATE_SEARCH.artifact))
    _write_golden(folder, users, keys[seen.golden.top(choices.candidates)])
    return facts


def golden_of(folder: Path) -> tuple[Floats, Ints, Ints]:
    """The golden users' rows and histories, and the keys [q, k] of the nearest items that sell everywhere."""
    rows, histories, keys = (np.load(folder / f"{name}.npy") for name in GOLDEN)
    return rows, histories, keys


def _look(source: Source, users: Users, k: int) -> _Seen:
    depth = min(DEPTH * k, source.items)
    queries = users.embeddings if source.queries is None else source.queries
    exact, golden = ExactSearch(queries, depth), ExactSearch(users.embeddings[: users.golden], k)
    chosen = np.sort(np.random.default_rng(0).permutation(source.items)[:SAMPLE])
    parts, seen, first = [], _Seen(exact, golden, np.empty((0, 0), np.float32)), 0
    for table, vectors in source.chunks():
        if not np.isfinite(vectors).all():
            raise ExportError("the item tower answers non-finite vectors; train the line again")
        exact.add(vectors, first)
        golden.add(vectors, first, sellable_everywhere(table))
        here = chosen[(chosen >= first) & (chosen < first + len(table))] - first
        parts.append(vectors[here])
        seen.id_bytes = max(seen.id_bytes, *(len(raw) for raw in encoded(table.ids)))
        seen.regions.update(c for named in table.regions if named is not None for c in named)
        first += len(table)
    seen.sample = np.concatenate(parts)
    if source.items > DIRECT_ITEMS:  # below, rows of the sample are rows of the catalogue
        seen.sample = np.random.default_rng(1).permutation(seen.sample)  # whose first rows are a sample as well
    return seen


def _decide(items: int, seen: _Seen, choices: Choices, report: Report) -> tuple[IndexSpec, Trial | None]:
    """What to build, and the trial that says so where one was needed."""
    if choices.kind in ("flat", "hnsw") and items > DIRECT_ITEMS:
        spec = IndexSpec(kind=choices.kind)
        require_memory(spec.bytes_per_item(seen.sample.shape[1]) * items, choices.memory_bytes, str(choices.kind))
        return spec, None
    evidence = Evidence(items=items, sample=seen.sample, exact=seen.exact, k=choices.candidates)
    trials = choose(evidence, choices.memory_bytes, choices.kind, choices.most_lists)
    for trial in trials[:5]:
        report(
            f"  {trial.spec.kind} {trial.spec.codec} {trial.spec.nlist}: recall {trial.recall:.3f}, "
            f"{trial.milliseconds:.3f} ms, {trial.bytes_per_item} bytes an item"
        )
    return trials[0].spec, trials[0]


def _write_golden(folder: Path, users: Users, keys: Ints) -> None:
    kept = slice(users.golden)
    arrays: tuple[Floats | Ints, ...] = (users.rows[kept], users.histories[kept], keys)
    for name, array in zip(GOLDEN, arrays, strict=True):
        np.save(folder / f"{name}.npy", array)
