"""Indexes that were really built, from a stored catalogue result: what a vector takes, and how much a query reads.

`python -m perf catalogue --save perf/results/catalogue-2-cores.json` makes the file. Without it, or with `--probed` or
`--vector-bytes`, a planned index has the figures that `Demand` assumes or was given.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.settings import ROOT
from exporters.index import HNSW_LINKS
from perf.errors import PerfError

STORED = ROOT / "perf" / "results" / "catalogue-2-cores.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An index over `items`: bytes of a vector with its row number; lists and how many are probed, 0 where there are
    none; vectors that a graph's walk compares, 0 without a graph."""

    items: int
    kind: str
    codec: str
    vector_bytes: float
    nlist: int = 0
    nprobe: int = 0
    walked: int = 0

    def __post_init__(self) -> None:
        if self.items < 1 or self.vector_bytes <= 0 or not 0 <= self.nprobe <= self.nlist:
            raise ValueError(f"not an index: {self}")

    @property
    def probed(self) -> float:
        """Share of the lists that a query reads; 1 without lists."""
        return self.nprobe / self.nlist if self.nlist else 1.0

    def __str__(self) -> str:
        lists = f", {self.nprobe} of {self.nlist} lists" if self.nlist else ""
        return f"{self.kind} {self.codec}{lists}, {self.vector_bytes:g} bytes a vector"


def read_built(path: Path = STORED) -> tuple[Built, ...]:
    """The indexes of a stored result, none where there is no such file. Raises PerfError for an odd one."""
    if not path.exists():
        return ()
    try:
        return tuple(_built(size["index"]) for size in json.loads(path.read_text())["sizes"])
    except (KeyError, TypeError, ValueError) as error:
        raise PerfError(f"{path} holds no catalogue sizes: {error}; make it with `python -m perf catalogue`") from None


def nearest(built: tuple[Built, ...], items: int) -> Built | None:
    """The one whose size has the ratio nearest to 1; None of none."""
    return min(built, key=lambda one: max(one.items / items, items / one.items), default=None)


def _built(index: dict[str, Any]) -> Built:
    return Built(
        items=index["items"], kind=index["kind"], codec=index["codec"], vector_bytes=index["bytes_per_item"],
        nlist=index["nlist"], nprobe=index["nprobe"], walked=index.get("ef_search", 0) * HNSW_LINKS,
    )  # fmt: skip
