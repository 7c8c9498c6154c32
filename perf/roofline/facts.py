"""The sizes of a release that its stages' work follows from."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import treelite

from deploy.settings import Settings
from exporters.manifest import Manifest, read, release_numbers
from feature_repo.schema import CONTEXT_WIDTH, ITEM_WIDTH, RANKER_WIDTH, USER_WIDTH
from model_repository.contract import CANDIDATES, RANKER, USER_TOWER
from perf.errors import PerfError
from perf.plan.work import Scan, record_bytes, scan_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Counts and bytes; `depth` is the mean depth of a leaf, `tower_weights` the numbers in the user tower."""

    scan: Scan
    record_bytes: float
    trees: int
    leaves: float
    depth: float
    tower_weights: float
    candidates: int = CANDIDATES
    user_width: int = USER_WIDTH
    item_width: int = ITEM_WIDTH
    context_width: int = CONTEXT_WIDTH
    ranker_width: int = RANKER_WIDTH

    def __post_init__(self) -> None:
        if min(self.trees, self.leaves, self.candidates, self.tower_weights) < 1 or self.depth < 0:
            raise ValueError(f"not a release's facts: {self}")


def newest_facts(settings: Settings) -> Facts:
    """Facts of the workspace's newest release, published or not. Raises PerfError when there is none."""
    numbers = release_numbers(settings.releases)
    if not numbers:
        raise PerfError(f"{settings.workspace} has no release; run `make serve` or `python -m perf catalogue` first")
    folder = settings.releases / str(numbers[-1])
    return read_facts(folder, read(folder))


def read_facts(folder: Path, manifest: Manifest) -> Facts:
    """Facts of a release in `folder`."""
    tower = manifest.slots[USER_TOWER.name].files[USER_TOWER.artifact]
    trees, leaves, depth = forest(folder / RANKER.name / RANKER.artifact)
    return Facts(
        scan=scan_of(manifest),
        record_bytes=record_bytes(manifest),
        trees=trees,
        leaves=leaves,
        depth=depth,
        tower_weights=tower.size / 4,
        candidates=manifest.index.candidates,
    )


def resized(facts: Facts, items: int | None, flat: bool) -> Facts:
    """The facts as if the catalogue had `items`, the share of probed lists unchanged, and the index were flat fp16."""
    scan = replace(facts.scan, items=items or facts.scan.items)
    return replace(facts, scan=scan.as_flat() if flat else scan)


def forest(checkpoint: Path) -> tuple[int, float, float]:
    """A Treelite checkpoint's trees, mean leaves of a tree, mean depth of a leaf."""
    model = treelite.Model.deserialize(str(checkpoint))
    shapes = [_tree(model.get_tree_accessor(index)) for index in range(model.num_tree)]
    leaves, depth = np.mean(shapes, axis=0)
    return model.num_tree, float(leaves), float(depth)


def _tree(tree: treelite.model.TreeAccessor) -> tuple[int, float]:
    """(leaves, mean depth of a leaf): children come after their parents or not, so walk from the root."""
    left, right = np.asarray(tree.get_field("cleft")), np.asarray(tree.get_field("cright"))
    depths, waiting = [], [(0, 0)]
    while waiting:
        node, depth = waiting.pop()
        if left[node] < 0:
            depths.append(depth)
        else:
            waiting += [(int(left[node]), depth + 1), (int(right[node]), depth + 1)]
    return len(depths), float(np.mean(depths))
