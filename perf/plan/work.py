"""What one request asks of the stack, in the quantities its cost grows with."""

import math
from dataclasses import dataclass

from deploy.triton.backends.faiss.records import FILE as RECORDS
from exporters.index import HNSW_LINKS, LARGEST_FLAT_QUANTIZER
from exporters.manifest import Manifest
from exporters.queries import GOLDEN
from feature_repo.schema import RANKER_WIDTH
from model_repository.contract import CANDIDATES, OBJECTIVES, RECOMMEND, Tensor

MIB = 2**20
ID_BYTES = 16  # of an item id in the answer, NUL padded
BYTES = {"FP32": 4, "INT64": 8, "INT32": 4, "UINT8": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """`candidates` K; `visits` forest nodes; `scanned_mib` of index read by the search; `misses`, share of requests
    whose embedding is not cached."""

    candidates: int
    visits: float
    scanned_mib: float
    misses: float

    def __post_init__(self) -> None:
        amounts = self.visits, self.scanned_mib
        if self.candidates < 1 or not all(0 <= amount < math.inf for amount in amounts) or not 0 <= self.misses <= 1:
            raise ValueError(f"not a request's work: {self}")

    def terms(self) -> dict[str, float]:
        """The quantities by name, thousands of candidates and millions of visits, and 1 for what is always paid."""
        return {
            "base": 1.0,
            "per_1000_candidates": self.candidates / 1000,
            "per_million_visits": self.visits / 1e6,
            "per_scanned_mib": self.scanned_mib,
            "per_miss": self.misses,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """How a search reads its index: bytes of a stored vector, lists and how many of them are probed (0: flat), or the
    vectors a graph's walk compares (0: no graph)."""

    items: int
    dimension: int
    vector_bytes: float
    nlist: int = 0
    nprobe: int = 0
    walked: int = 0

    def __post_init__(self) -> None:
        if min(self.items, self.dimension) < 1 or self.vector_bytes <= 0 or not 0 <= self.nprobe <= self.nlist:
            raise ValueError(f"not an index: {self}")

    @property
    def share(self) -> float:
        """Share of the vectors compared with a query: lists are equally long on average."""
        if self.walked:
            return min(1.0, self.walked / self.items)
        return self.nprobe / self.nlist if self.nlist else 1.0

    @property
    def scanned_bytes(self) -> float:
        """Bytes of stored vectors read for one query."""
        return self.share * self.items * self.vector_bytes

    @property
    def centroids(self) -> int:
        """Centroids compared with a query: all, or what a graph over more than 4096 walks through."""
        return min(self.nlist, LARGEST_FLAT_QUANTIZER)

    @property
    def coarse_bytes(self) -> float:
        """Bytes of the float32 centroids read for a query."""
        return 4.0 * self.centroids * self.dimension

    def as_flat(self) -> "Scan":
        """The same vectors in a flat fp16 index, all compared with every query."""
        return Scan(items=self.items, dimension=self.dimension, vector_bytes=2 * self.dimension)


def forest_visits(candidates: int, trees: int, leaves: float) -> float:
    """Nodes a forest visits for a request: candidates × trees × log2(leaves), a balanced tree's depth."""
    return candidates * trees * math.log2(max(leaves, 2))


def scan_of(manifest: Manifest) -> Scan:
    """A release's search. A graph's walk compares the efSearch best's neighbours, half of their 2·links seen before."""
    index = manifest.index
    return Scan(
        items=index.items,
        dimension=index.dimension,
        vector_bytes=index.bytes_per_item,
        nlist=index.nlist,
        nprobe=index.nprobe,
        walked=index.ef_search * HNSW_LINKS,
    )


def item_row_bytes(manifest: Manifest) -> float:
    """Bytes of the item table per item: its record, and the columns that are read of all items; not the golden users
    beside it."""
    golden = {f"{name}.npy" for name in GOLDEN}
    files = manifest.slots["candidates"].files
    table = (f.size for name, f in files.items() if name.endswith(".npy") and name not in golden)
    return sum(table) / manifest.index.items


def record_bytes(manifest: Manifest) -> float:
    """Bytes of an item's record, which is what is read of one that is answered."""
    return manifest.slots["candidates"].files[RECORDS].size / manifest.index.items


def line_bytes(manifest: Manifest) -> int:
    """Bytes of a release that do not grow with the catalogue: towers, assembler, forest."""
    return sum(f.size for n, slot in manifest.slots.items() if n != "candidates" for f in slot.files.values())


def tensor_bytes(candidates: int, id_bytes: int = ID_BYTES) -> tuple[int, int]:
    """Bytes of a recommend call over gRPC (request, answer) with K candidates, from the tensor contract."""
    asked = sum(_bytes(tensor, candidates, id_bytes) for tensor in RECOMMEND.inputs)
    return asked, sum(_bytes(tensor, candidates, id_bytes) for tensor in RECOMMEND.outputs)


def _bytes(tensor: Tensor, candidates: int, id_bytes: int) -> int:
    sizes = {CANDIDATES: candidates, -1: id_bytes}
    return BYTES[tensor.dtype] * math.prod(sizes.get(size, size) for size in tensor.shape)


def matrix_bytes(candidates: int) -> int:
    """Bytes of the ranker's input and output for a request."""
    return candidates * 4 * (RANKER_WIDTH + len(OBJECTIVES))
