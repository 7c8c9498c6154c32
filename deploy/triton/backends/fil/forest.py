"""A Treelite checkpoint on the CPU: thresholds and rows become integers, a request's constant columns are folded away.

Rows are float32 and LightGBM's thresholds double. A test `x <= t` keeps its meaning for every float32 x when t is
rounded down to the next float32.
"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import treelite

sys.path.append(str(Path(__file__).resolve().parent))  # one name for it everywhere: numba's files on disk carry it

import kernels

LEAF = kernels.LEAF  # child of a leaf
LEAST = 64  # rows that are worth a thread
CATEGORICAL = 2  # TreeNodeType::kCategoricalTestNode
LESS_OR_EQUAL = 3  # Operator::kLE, what LightGBM writes


class ForestError(ValueError):
    """The checkpoint holds something this engine does not evaluate; the message says what."""


def load(path: str) -> treelite.Model:
    """Read a Treelite checkpoint and refuse what would be answered wrongly."""
    model = treelite.Model.deserialize(path)
    header = model.get_header_accessor()
    postprocessor = str(header.get_field("postprocessor"))
    if postprocessor not in ("sigmoid", "multiclass_ova", "identity"):
        raise ForestError(f"{path}: post-processor {postprocessor!r} is not supported")
    return model


class Trees(NamedTuple):
    """All trees one after the other: of m nodes the left child (within the tree; the right one is next to it), feature,
    threshold, leaf value, and whether a missing value goes left; where each of t trees begins [t + 1], and the class
    [t] that it adds to."""

    left: np.ndarray
    features: np.ndarray
    thresholds: np.ndarray
    values: np.ndarray
    default: np.ndarray
    starts: np.ndarray
    classes: np.ndarray

    def fold(self, row: np.ndarray, places: np.ndarray) -> "Folded":
        """Without the splits on columns that do not vary: `kernels.fold`."""
        trees = len(self.classes)
        splits = len(self.left) + kernels.ABREAST * trees
        folded = Folded(
            columns=np.empty(splits, np.int32),
            limits=np.empty(splits, np.int32),
            masks=np.empty(splits, np.uint64),
            ends=np.empty(trees, np.int64),
            leaves=np.empty((trees, kernels.LEAVES)),
        )
        kernels.fold(*self[:4], self.starts, row, places, *folded)
        return folded


class Folded(NamedTuple):
    """What `kernels.fold` leaves of the trees."""

    columns: np.ndarray
    limits: np.ndarray
    masks: np.ndarray
    ends: np.ndarray
    leaves: np.ndarray


class Forest:
    """`predict` maps [n, features] float32 to [n, classes] float32, on `threads` threads.

    `between` is called after each tree that was read: a large forest takes a while.
    """

    def __init__(self, path: str, threads: int = 1, between: Callable[[], None] = lambda: None) -> None:
        model = load(path)
        header = model.get_header_accessor()
        self.features = int(model.num_feature)
        self.classes = max(int(c) for c in header.get_field("num_class"))
        self._sigmoid = str(header.get_field("postprocessor")) != "identity"
        self._alpha = np.float32(header.get_field("sigmoid_alpha")[0])
        base = np.array(header.get_field("base_scores"), np.float64)  # a copy: fields are the model's own memory
        self._base = base if base.size == self.classes else np.full(self.classes, base[0])
        self._trees = _trees(model, np.array(header.get_field("class_id"), np.int64), between)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Scores of every class, after the model's own post-processor. Fast for rows of one request: see `kernels`."""
        if X.ndim != 2 or X.shape[1] != self.features:
            raise ForestError(f"input has shape {X.shape}, expected [n, {self.features}]")
        X = np.ascontiguousarray(X, np.float32)
        raw = self._base + (self._sums(X) if self._pool is None else self._in_parts(X, self._pool))
        scores: np.ndarray = _sigmoid(self._alpha * raw) if self._sigmoid else raw
        return scores.astype(np.float32)

    def _in_parts(self, X: np.ndarray, pool: ThreadPoolExecutor) -> np.ndarray:
        parts = np.array_split(X, max(1, min(self._threads, len(X) // LEAST)))
        return np.concatenate(list(pool.map(self._sums, parts)))

    def _sums(self, X: np.ndarray) -> np.ndarray:
        """Sums of leaves [n, classes]."""
        trees, bits = self._trees, X.view(np.int32)
        if not len(X):
            return np.zeros((0, self.classes))
        row, places = np.empty((2, self.features), np.int32)
        varying = kernels.look(bits, row, places)
        lanes = np.empty((-(-len(X) // kernels.LANES), varying, kernels.LANES), np.int32)
        if kernels.turn(bits, places, lanes):
            return self._descend(bits, np.ones(len(trees.classes), bool))
        folded = trees.fold(row, places)
        sums = np.zeros((len(lanes), self.classes, kernels.LANES))
        kernels.score(lanes, *folded, trees.classes, sums)
        result = sums.transpose(0, 2, 1).reshape(-1, self.classes)[: len(X)]
        large = folded.ends < 0
        return result + self._descend(bits, large) if large.any() else result

    def _descend(self, bits: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(bits), self.classes))
        kernels.descend(bits, *self._trees, chosen, sums)
        return sums


def _sigmoid(raw: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-raw)))


def _trees(model: treelite.Model, classes: np.ndarray, between: Callable[[], None]) -> Trees:
    parts = []
    for index in range(len(classes)):
        parts.append(_tree(model.get_tree_accessor(index), index))
        between()
    starts = np.cumsum([0, *(len(part[0]) for part in parts)], dtype=np.int64)
    nodes = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    return Trees._make((*nodes, starts, classes))


def _tree(tree: Any, index: int) -> tuple[np.ndarray, ...]:
    """The first five of `Trees` for one tree, nodes in the order of their depth."""
    left, right = tree.get_field("cleft"), tree.get_field("cright")
    check_splits(tree, left, index)
    nodes = _by_depth(left.tolist(), right.tolist())
    place = np.empty(len(nodes), np.int32)
    place[nodes] = np.arange(len(nodes))
    leaf = left[nodes] == LEAF
    lower = np.where(leaf, LEAF, place[left[nodes]]).astype(np.int32)
    thresholds = kernels.ordered(floor32(tree.get_field("threshold")).view(np.int32))[nodes]
    values = np.where(leaf, tree.get_field("leaf_value")[nodes], 0.0)
    features = np.where(leaf, 0, tree.get_field("split_index")[nodes]).astype(np.int32)
    return lower, features, thresholds, values, tree.get_field("default_left")[nodes].astype(bool)


def _by_depth(left: Sequence[int], right: Sequence[int]) -> np.ndarray:
    nodes = [0]
    for node in nodes:  # grows meanwhile
        if left[node] != LEAF:
            nodes += (left[node], right[node])
    return np.array(nodes)


def check_splits(tree: Any, left: np.ndarray, index: int) -> None:
    """Refuse tree `index`, with left children `left`, for what no engine here evaluates. Raises ForestError."""
    if np.any(tree.get_field("node_type") == CATEGORICAL):
        raise ForestError(f"tree {index} has a categorical split; encode categories as numbers")
    if np.any(tree.get_field("cmp")[left != LEAF] != LESS_OR_EQUAL):
        raise ForestError(f"tree {index} has a split that is not `<=`; only LightGBM forests are served here")


def floor32(threshold: np.ndarray) -> np.ndarray:
    """The largest float32 ≤ each double."""
    with np.errstate(over="ignore"):
        rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)
