"""A generation: index, item table and golden queries of one catalogue, in two passes over it.

The first pass looks (exact neighbours of real queries, a sample, the longest id, the regions), the second writes. What
is held is the index, the sample and a chunk: a source that streams (the synthetic catalogues of `perf`) is built in
bounded memory. The trained catalogue is one chunk, because Feast's offline read gives it whole.

A line's first generation chooses its index by measurement, and later ones build the same again, as long as that finds
what it must.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import faiss
import numpy as np
import orjson

from exporters.errors import ExportError, GateError
from exporters.exact import ExactSearch
from exporters.index import POINTS_PER_LIST, IndexSpec, Kind, empty_index, tune_search
from exporters.manifest import TABLE, IndexFacts
from exporters.queries import Queries, write_queries
from exporters.table import FINGERPRINT, ItemTable, TableWriter, encoded, sellable_everywhere
from exporters.tune import DEPTH, DIRECT_ITEMS, MOST_LISTS, Evidence, Trial, choose, require_memory
from feature_repo.vectors import Floats, Ints
from model_repository.contract import CANDIDATE_SEARCH

SAMPLE = 640_000  # vectors that k-means and codecs are trained on, at most
LAYOUT = b"records"  # of the item table: one of another layout was not built of this catalogue
SLOWER = 2  # times as thorough a search as before, and the index is chosen again
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
    """How to index: of one kind or whatever measures best, within `memory_bytes`; `candidates` is k.

    `previous` is the index of the line's generation before, which is built again where that still fits.
    """

    kind: Kind | None
    memory_bytes: float
    candidates: int
    most_lists: int = MOST_LISTS
    previous: IndexFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decision:
    """What to build, how thoroughly to search it at least and, where that is limited, at most; what is known of it."""

    spec: IndexSpec
    setting: int = 0
    most: float = math.inf
    centroids: Floats | None = None
    milliseconds: float = 0.0


@dataclass(slots=True)
class _Seen:
    """What the first pass learns."""

    exact: ExactSearch
    golden: ExactSearch
    sample: Floats
    fingerprint: str = ""
    id_bytes: int = 1
    regions: set[str] = field(default_factory=set)


def write_generation(
    folder: Path, source: Source, users: Users, choices: Choices, tower_digest: str, report: Report
) -> IndexFacts:
    """Write everything `candidates` serves into `folder`. Raises ExportError."""
    report(f"looking at {source.items} items")
    seen = _look(source, users, choices.candidates)
    again = _again(source.items, seen, choices)
    decision = again or _decide(source.items, seen, choices, report)
    index = _started(decision, seen, report)
    with TableWriter(folder, source.items, seen.id_bytes, seen.regions) as writer:
        for table, vectors in source.chunks():
            index.add(vectors)
            writer.add(table)
        try:
            facts = _tuned(index, decision, seen, choices)
        except GateError as error:
            if again is None:
                raise
            report(f"the index of the generation before no longer does: {error}")
            index, facts = _chosen_anew(source, seen, choices, report)
        keys = writer.finish(facts, tower_digest, seen.fingerprint)
    faiss.write_index(index, str(folder / CANDIDATE_SEARCH.artifact))
    asked = slice(users.golden)
    write_queries(folder, Queries(users.rows[asked], users.histories[asked], keys[seen.golden.top(choices.candidates)]))
    return facts


def fingerprint_of(folder: Path) -> str | None:
    """The fingerprint of the catalogue that a generation was built from; None of another revision's."""
    found: str | None = json.loads((folder / TABLE).read_text()).get(FINGERPRINT)
    return found


def fingerprint(source: Source) -> str:
    """Digest of everything that a generation of this catalogue holds or shows, and of how it holds it."""
    digest = _digest()
    for table, vectors in source.chunks():
        _fold(digest, table, vectors)
    return digest.hexdigest()


def _digest() -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=16, person=LAYOUT)


def _fold(digest: "hashlib.blake2b", table: ItemTable, vectors: Floats) -> None:
    digest.update(orjson.dumps([table.ids, table.regions, table.display], option=orjson.OPT_SORT_KEYS))
    for array in (table.features, table.rules, vectors):
        digest.update(np.ascontiguousarray(array).data)


def _look(source: Source, users: Users, k: int) -> _Seen:
    depth = min(DEPTH * k, source.items)
    queries = users.embeddings if source.queries is None else source.queries
    exact, golden = ExactSearch(queries, depth), ExactSearch(users.embeddings[: users.golden], k)
    chosen = np.sort(np.random.default_rng(0).permutation(source.items)[:SAMPLE])
    parts, seen, first = [], _Seen(exact, golden, np.empty((0, 0), np.float32)), 0
    digest = _digest()
    for table, vectors in source.chunks():
        if not np.isfinite(vectors).all():
            raise ExportError("the item tower answers non-finite vectors; train the line again")
        exact.add(vectors, first)
        golden.add(vectors, first, sellable_everywhere(table))
        here = chosen[(chosen >= first) & (chosen < first + len(table))] - first
        parts.append(vectors[here])
        seen.id_bytes = max(seen.id_bytes, *(len(raw) for raw in encoded(table.ids)))
        seen.regions.update(c for named in table.regions if named is not None for c in named)
        _fold(digest, table, vectors)
        first += len(table)
    seen.sample, seen.fingerprint = np.concatenate(parts), digest.hexdigest()
    if source.items > DIRECT_ITEMS:  # below, rows of the sample are rows of the catalogue
        seen.sample = np.random.default_rng(1).permutation(seen.sample)  # whose first rows are a sample as well
    return seen


def _again(items: int, seen: _Seen, choices: Choices) -> _Decision | None:
    """The index of the generation before, where it still fits what there is and what is asked for."""
    before = choices.previous
    if before is None or before.candidates != choices.candidates or choices.kind not in (None, before.kind):
        return None
    spec = IndexSpec(kind=before.kind, codec=before.codec, nlist=before.nlist)
    too_large = spec.bytes_per_item(before.dimension) * items > choices.memory_bytes
    if too_large or before.nlist * POINTS_PER_LIST > len(seen.sample) or before.nlist > choices.most_lists:
        return None
    most = SLOWER * max(before.nprobe, before.ef_search)
    return _Decision(spec=spec, most=most, milliseconds=before.milliseconds)


def _decide(items: int, seen: _Seen, choices: Choices, report: Report) -> _Decision:
    """What to build by measurement, or by order."""
    if choices.kind in ("flat", "hnsw") and items > DIRECT_ITEMS:
        spec = IndexSpec(kind=choices.kind)
        require_memory(spec.bytes_per_item(seen.sample.shape[1]) * items, choices.memory_bytes, str(choices.kind))
        return _Decision(spec=spec)
    evidence = Evidence(items=items, sample=seen.sample, exact=seen.exact, k=choices.candidates)
    trials = choose(evidence, choices.memory_bytes, choices.kind, choices.most_lists)
    for trial in trials[:5]:
        report(
            f"  {trial.spec.kind} {trial.spec.codec} {trial.spec.nlist}: recall {trial.recall:.3f}, "
            f"{trial.milliseconds:.3f} ms, {trial.bytes_per_item} bytes an item"
        )
    return _of_trial(trials[0])


def _of_trial(best: Trial) -> _Decision:
    milliseconds = round(best.milliseconds, 4)
    return _Decision(spec=best.spec, setting=best.setting, centroids=best.centroids, milliseconds=milliseconds)


def _started(decision: _Decision, seen: _Seen, report: Report) -> faiss.Index:
    """The trained index, which holds nothing yet."""
    spec = decision.spec
    report(f"writing: {spec.kind} index, {spec.codec}" + (f", {spec.nlist} lists" if spec.nlist else ""))
    return empty_index(spec, seen.sample, decision.centroids)


def _tuned(index: faiss.Index, decision: _Decision, seen: _Seen, choices: Choices) -> IndexFacts:
    """The facts of the filled index. Raises GateError when it does not find what it must within the limit."""
    facts = tune_search(index, decision.spec, seen.exact, choices.candidates, decision.setting)
    if (thorough := max(facts.nprobe, facts.ef_search)) > decision.most:
        raise GateError(f"index {decision.spec}: needs a search of {thorough}, the limit is {decision.most:g}")
    return facts.model_copy(update={"milliseconds": decision.milliseconds})


def _chosen_anew(source: Source, seen: _Seen, choices: Choices, report: Report) -> tuple[faiss.Index, IndexFacts]:
    decision = _decide(source.items, seen, choices, report)
    index = _started(decision, seen, report)
    for _, vectors in source.chunks():
        index.add(vectors)
    return index, _tuned(index, decision, seen, choices)
