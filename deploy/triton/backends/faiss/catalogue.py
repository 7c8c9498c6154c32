"""One generation of the catalogue: a FAISS index and, row for row, the item table it points into.

Files of a version folder (all written by the exporter, memory-mapped here):
`index.faiss`; `keys.npy` int64 [n]; `rules.npy` float32 [n, columns]; `regions.npy` uint64 [n, words], bit b set where
the item may be shown in region b, bit 0 standing for every country without a bit: what is read of all items at once;
`records.npy`: what is answered of some, see `records.py`; `table.json`: sizes, search settings, what a record holds and
`regions` {country code: bit}.
"""

import json
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import faiss
import numpy as np

sys.path.extend(map(str, Path(__file__).resolve().parents[:2]))  # one name for what lies beside it everywhere

from records import CatalogueError, Records, mapped
from shelf import Region, Shelf

Arrays = dict[str, np.ndarray]
Place = Callable[[faiss.Index], faiss.Index]
GPU_DEPTH = 2048  # GPU FAISS selects at most this many (GpuIndex.h, getMaxKSelection)
TABLES = {"keys": ("i8", 1), "rules": ("f4", 2), "regions": ("u8", 2)}  # type, dimensions


class Catalogue:
    """Search, filter and gather. Thread-safe for reading; `gpu` copies the index to a GPU (`gpu_index.to_gpu`).

    `shelf` says what may be shown, and changes while it is searched.
    """

    def __init__(self, folder: Path, k: int, gpu: Place | None = None, threads: int = 1) -> None:
        faiss.omp_set_num_threads(threads)
        self.k = k
        self.facts = json.loads((folder / "table.json").read_text())
        self._records = Records(folder, self.facts)
        self._table: Arrays = {name: mapped(folder / f"{name}.npy") for name in TABLES}
        self._folder, self._gpu = folder, gpu is not None
        self._index = self._open_index() if gpu is None else gpu(self._open_index())
        self.size = int(self._index.ntotal)
        self._check()
        self.shelf = Shelf(folder, self.facts, self._table)
        self._parameters: dict[int, faiss.SearchParameters] = {}

    def search(self, queries: np.ndarray, countries: np.ndarray) -> Arrays:
        """[b, d] embeddings and [b] country codes → arrays [b, k, …] and `count` [b, 1]; rows past count are zero."""
        if queries.ndim != 2 or queries.shape[1] != self._index.d:
            raise CatalogueError(f"user_embedding has shape {queries.shape}, the index has dimension {self._index.d}")
        if not np.isfinite(queries).all():
            raise CatalogueError("user_embedding holds a non-finite value")
        rows = np.zeros((len(queries), self.k), np.int64)
        similarity = np.zeros((len(queries), self.k), np.float32)
        count = np.zeros((len(queries), 1), np.int32)
        bits = [self.shelf.bit(int(code)) for code in countries]
        for bit in sorted(set(bits)):
            members = np.flatnonzero(np.asarray(bits) == bit)
            for member, (hits, scores) in zip(members, self._filtered(queries[members], bit), strict=True):
                rows[member, : len(hits)], similarity[member, : len(hits)] = hits, scores
                count[member] = len(hits)
        return self._gather(rows, similarity, count)

    def _filtered(self, queries: np.ndarray, bit: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The best k rows allowed in the region, for each query."""
        region = self.shelf.region(bit)
        wanted = min(self.k, region.total)  # once: it changes meanwhile
        if wanted == 0:
            return [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
        scores, rows = self._search(queries, wanted, bit, region)
        found = [_found(r, s, wanted) for r, s in zip(rows, scores, strict=True)]
        short = [i for i, (hits, _) in enumerate(found) if len(hits) < wanted]
        for i in short:
            scores, rows = _search_all(self._host, queries[i : i + 1], wanted, region.selector)
            found[i] = _found(rows[0], scores[0], wanted)
        return found

    def _search(self, queries: np.ndarray, wanted: int, bit: int, region: Region) -> tuple[np.ndarray, np.ndarray]:
        """The cheap search: scores and rows, -1 for what the region may not be shown.

        The CPU looks only at what is allowed; a GPU cannot, and over-retrieves by what the filter will take.
        """
        if not self._gpu:
            if bit not in self._parameters:
                self._parameters[bit] = self._looking_at(region.selector)
            scores, rows = self._index.search(queries, wanted, params=self._parameters[bit])
            return scores, rows
        depth = min(self.size, GPU_DEPTH, int(wanted * self.size / max(region.total, wanted) * 1.1) + 16)
        scores, rows = self._index.search(queries, depth)
        return scores, np.where(self.shelf.allowed(rows, bit), rows, -1)

    def _looking_at(self, selector: faiss.IDSelector) -> faiss.SearchParameters:
        if isinstance(self._index, faiss.IndexIVF):
            return faiss.SearchParametersIVF(sel=selector, nprobe=int(self.facts["nprobe"]))
        if isinstance(self._index, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(sel=selector, efSearch=int(self.facts["ef_search"]))
        return faiss.SearchParameters(sel=selector)

    @cached_property
    def _host(self) -> faiss.Index:
        """The index that searches as deep as asked. Beside a GPU's it is read again when a region first needs it."""
        return self._open_index() if self._gpu else self._index

    def _open_index(self) -> faiss.Index:
        index = faiss.read_index(str(self._folder / "index.faiss"))
        if isinstance(index, faiss.IndexIVF):
            index.nprobe = int(self.facts["nprobe"])
        return index

    def _gather(self, rows: np.ndarray, similarity: np.ndarray, count: np.ndarray) -> Arrays:
        answer: Arrays = self._records.answer(rows, count)
        if self.shelf.overlaid:  # what a record says of its item's rules was true when it was written
            found = answer["rules"][..., -1] > 0
            answer["rules"][found, :-1] = self.shelf.rules[rows[found]]
        return answer | {"similarity": similarity, "count": count}

    def _check(self) -> None:
        tables = self._table | {"records": self._records}
        sizes = {"index.faiss": self.size} | {f"{name}.npy": len(array) for name, array in tables.items()}
        for name, (kind, dimensions) in TABLES.items():
            _require_shape(name, self._table[name], kind, dimensions)
        if (width := self._table["rules"].shape[1]) != len(self.facts["rule_columns"]):
            raise CatalogueError(f"rules.npy has {width} columns, table.json names {len(self.facts['rule_columns'])}")
        if self._gpu and self.k > GPU_DEPTH:
            raise CatalogueError(f"a GPU finds at most {GPU_DEPTH} candidates, the model's width is {self.k}")
        if set(sizes.values()) != {self.facts["items"]}:
            raise CatalogueError(f"table.json says {self.facts['items']} items, the files have {sizes}")
        if self._index.d != self.facts["dimension"] or self._index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise CatalogueError(
                f"index has dimension {self._index.d}, metric {self._index.metric_type}; "
                f"expected {self.facts['dimension']}, inner product"
            )


def _require_shape(name: str, array: np.ndarray, kind: str, dimensions: int) -> None:
    if array.dtype != np.dtype(kind) or array.ndim != dimensions:
        raise CatalogueError(
            f"{name}.npy is {array.dtype} {array.shape}, expected {np.dtype(kind)} in {dimensions} dimensions"
        )


def _found(rows: np.ndarray, scores: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """At most so many of what a search found; FAISS pads with -1."""
    kept = rows >= 0
    return rows[kept][:wanted], scores[kept][:wanted]


def _search_all(
    index: faiss.Index, query: np.ndarray, k: int, selector: faiss.IDSelector
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and rows of the k best selected rows, by looking at every one: when the cheap search came back short."""
    if isinstance(index, faiss.IndexIVF):
        return _search_lists(index, query, k, selector)
    if isinstance(index, faiss.IndexHNSW):
        parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=index.ntotal)
    else:
        parameters = faiss.SearchParameters(sel=selector)
    scores, rows = index.search(query, k, params=parameters)
    return scores, rows


def _search_lists(
    index: faiss.IndexIVF, query: np.ndarray, k: int, selector: faiss.IDSelector
) -> tuple[np.ndarray, np.ndarray]:
    """All lists, by their numbers: a graph over them would not find every one. FAISS's wrapper takes no selector."""
    query = np.ascontiguousarray(query, np.float32)
    lists = np.arange(index.nlist, dtype=np.int64)[None]
    near = np.ascontiguousarray(query @ index.quantizer.reconstruct_n(0, index.nlist).T)
    scores, rows = np.empty((1, k), np.float32), np.empty((1, k), np.int64)
    pointers = [faiss.swig_ptr(array) for array in (lists, near, scores, rows)]
    parameters = faiss.SearchParametersIVF(sel=selector, nprobe=index.nlist)
    index.search_preassigned_c(1, faiss.swig_ptr(query), k, *pointers, False, parameters)
    return scores, rows
