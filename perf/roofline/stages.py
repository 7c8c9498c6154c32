"""What each stage of one request moves, computes and calls, pure. Bytes go between memory and the processor once; what
a batch shares is divided by the batch.

    Redis          row, embedding and shown items over a socket: one round trip
    user_tower     2 FLOPs a weight; the weights are read once a batch (misses only)
    coarse         the lists' centroids × d: 2·c·d FLOPs, 4·c·d bytes once a batch
    scan           probed vectors × d: 2·d FLOPs each. An IVF reads its lists for every query, a flat index the whole
                   catalogue once a batch; both write and read a score of 4 bytes for the selection
    gather         K records of the item table, whole cache lines of them
    assemble       reads the user, context and K item rows, writes the matrix [K, F]; ~10 FLOPs a cross column
    ranker         reads the matrix once; K × trees × depth node visits (nodes stay in the cache)
    rules          K × 6 columns and 3 scores, read and sorted: K·log2(K) comparisons
    grpc           the call's tensors, copied out of one process and into another, at both ends of the ensemble and
                   around each of its three backends

IVF cost: Johnson, Douze and Jégou, Billion-scale similarity search with GPUs (2019), §2.
"""

import math
from dataclasses import dataclass

from perf.plan.work import matrix_bytes, tensor_bytes
from perf.roofline.facts import Facts

CACHE_LINE = 64
RECORD_STEP = 8  # records begin at multiples of it
SHOWN_BYTES = 50 * 8
RULE_BYTES = 9 * 4
BACKENDS = 3
CROSS_FLOPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage's work for one request on average; `model` is the Triton model or the process it runs in, `share` of
    the requests come here."""

    name: str
    model: str
    share: float = 1.0
    bytes: float = 0.0
    flops: float = 0.0
    visits: float = 0.0
    calls: float = 0.0

    @property
    def intensity(self) -> float:
        """FLOPs a byte."""
        return self.flops / self.bytes if self.bytes else 0.0


def stages(facts: Facts, batch: int = 1, misses: float = 0.0) -> tuple[Stage, ...]:
    """All stages of a request in a batch of `batch`, `misses` the share of requests without a cached embedding.

    Raises ValueError for a batch below 1 or a share outside [0, 1].
    """
    if batch < 1 or not 0 <= misses <= 1:
        raise ValueError(f"batch is {batch}, misses are {misses}; need at least 1, and a share")
    return (_redis(facts), _tower(facts, batch, misses), _coarse(facts, batch), _scan(facts, batch), _gather(facts),
            _assemble(facts), _ranker(facts), _rules(facts), _grpc(facts))  # fmt: skip


def _redis(facts: Facts) -> Stage:
    row = 4 * facts.user_width + SHOWN_BYTES
    return Stage(name="redis", model="redis", bytes=2 * (row + 4 * facts.scan.dimension + SHOWN_BYTES), calls=1)


def _tower(facts: Facts, batch: int, misses: float) -> Stage:
    weights = facts.tower_weights
    moved = misses * (4 * weights / batch + 4 * (facts.user_width + facts.scan.dimension))
    return Stage(
        name="user_tower",
        model="user_tower",
        share=misses,
        bytes=moved,
        flops=misses * 2 * weights,
        calls=misses / batch,
    )


def _coarse(facts: Facts, batch: int) -> Stage:
    return Stage(
        name="coarse",
        model="candidates",
        bytes=facts.scan.coarse_bytes / batch,
        flops=2.0 * facts.scan.centroids * facts.scan.dimension,
    )


def _scan(facts: Facts, batch: int) -> Stage:
    scan = facts.scan
    compared = scan.share * scan.items
    shared = 1 if scan.share < 1 else batch
    moved = scan.scanned_bytes / shared + 2 * 4 * compared
    return Stage(name="scan", model="candidates", bytes=moved, flops=2 * compared * scan.dimension)


def _gather(facts: Facts) -> Stage:
    lines = facts.record_bytes + CACHE_LINE - RECORD_STEP  # with what lies in its first and last line, on average
    return Stage(name="gather", model="candidates", bytes=facts.candidates * (lines + 4 * facts.item_width))


def _assemble(facts: Facts) -> Stage:
    read = 4 * (facts.user_width + facts.context_width + facts.candidates * facts.item_width)
    crosses = max(0, facts.ranker_width - facts.item_width)
    return Stage(
        name="assemble",
        model="assemble",
        bytes=read + 4 * facts.candidates * facts.ranker_width,
        flops=CROSS_FLOPS * facts.candidates * crosses,
    )


def _ranker(facts: Facts) -> Stage:
    visits = facts.candidates * facts.trees * facts.depth
    return Stage(name="ranker", model="ranker", bytes=matrix_bytes(facts.candidates), visits=visits)


def _rules(facts: Facts) -> Stage:
    sort = facts.candidates * math.log2(max(2, facts.candidates))
    return Stage(name="rules", model="orchestrator", bytes=2 * RULE_BYTES * facts.candidates, flops=sort)


def _grpc(facts: Facts) -> Stage:
    asked, answered = tensor_bytes(facts.candidates)
    inside = matrix_bytes(facts.candidates) + 4 * facts.candidates * facts.item_width
    return Stage(name="grpc", model="triton", bytes=2 * (asked + answered + inside), calls=1 + BACKENDS)
