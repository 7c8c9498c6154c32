"""A Treelite checkpoint as oneDAL forests, one for each class.

oneDAL has no one-vs-all classifier, so every class becomes a regression forest of raw scores and the sigmoid is
taken here. It compares float32 with `x > value → right`; a Treelite test `x <= t` with a double t therefore keeps its
meaning for float32 x when t is rounded down to the next float32.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

import numpy as np
import treelite

LEAF = -1  # child of a leaf
CATEGORICAL = 2  # TreeNodeType::kCategoricalTestNode
LESS_OR_EQUAL = 3  # Operator::kLE, what LightGBM writes


def _bindings() -> ModuleType:
    """daal4py's bindings alone: the package around them imports scikit-learn, for patches that nobody here asks for,
    and that is most of what this process would load.
    """
    if "daal4py" not in sys.modules and (package := find_spec("daal4py")) is not None:
        sys.modules["daal4py"] = module_from_spec(package)  # and not run
    return import_module("daal4py._daal4py")


daal = _bindings()


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


class Forest:
    """`predict` maps [n, features] float32 to [n, classes] float32, on `threads` threads.

    `between` is called after each tree that was read: a large forest takes a while.
    """

    def __init__(self, path: str, threads: int = 1, between: Callable[[], None] = lambda: None) -> None:
        daal.daalinit(threads)
        self._model = load(path)
        header = self._model.get_header_accessor()
        self.features = int(self._model.num_feature)
        self.classes = max(int(c) for c in header.get_field("num_class"))
        self._sigmoid = str(header.get_field("postprocessor")) != "identity"
        self._alpha = np.float32(header.get_field("sigmoid_alpha")[0])
        base = np.asarray(header.get_field("base_scores"), np.float64)
        self._base = base if base.size == self.classes else np.full(self.classes, base[0])
        owners = np.asarray(header.get_field("class_id"))
        self._forests = [
            _forest(self._model, np.flatnonzero(owners == c), self.features, between) for c in range(self.classes)
        ]

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Scores of every class, after the model's own post-processor."""
        if X.ndim != 2 or X.shape[1] != self.features:
            raise ForestError(f"input has shape {X.shape}, expected [n, {self.features}]")
        X = np.ascontiguousarray(X, np.float32)
        # A result owns the memory its prediction points into, and an engine reuses it: one engine for each class.
        results = [daal.gbt_regression_prediction(fptype="float").compute(X, f) for f in self._forests]
        raw = np.concatenate([result.prediction for result in results], axis=1) + self._base
        scores: np.ndarray = _sigmoid(self._alpha * raw) if self._sigmoid else raw
        return scores.astype(np.float32)


def _sigmoid(raw: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-raw)))


def _forest(model: treelite.Model, trees: np.ndarray, features: int, between: Callable[[], None]) -> Any:
    builder = daal.gbt_reg_model_builder(n_features=features, n_iterations=max(len(trees), 1))
    for index in trees:
        _add_tree(builder, model.get_tree_accessor(int(index)), int(index))
        between()
    if not len(trees):
        builder.add_leaf(tree_id=builder.create_tree(1), response=0.0, cover=0.0)
    return builder.model(base_score=None)


def _add_tree(builder: Any, tree: Any, index: int) -> None:
    left, right = tree.get_field("cleft"), tree.get_field("cright")
    feature, threshold = tree.get_field("split_index"), floor32(tree.get_field("threshold"))
    default_left, leaf = tree.get_field("default_left"), tree.get_field("leaf_value")
    check_splits(tree, left, index)
    tree_id = builder.create_tree(len(left))
    pending: list[tuple[int, dict[str, int]]] = [(0, {})]
    while pending:
        node, place = pending.pop(0)
        if left[node] == LEAF:
            builder.add_leaf(tree_id=tree_id, response=float(leaf[node]), cover=0.0, **place)
            continue
        parent = builder.add_split(
            tree_id=tree_id,
            feature_index=int(feature[node]),
            feature_value=float(threshold[node]),
            cover=0.0,
            default_left=bool(default_left[node]),
            **place,
        )
        pending += [
            (int(child), {"parent_id": parent, "position": position})
            for position, child in enumerate((left[node], right[node]))
        ]


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
