"""oneDAL as a peer of the served forest: one regression forest of raw scores for each class.

oneDAL has no one-vs-all classifier, so the sigmoid is taken here. It compares float32 with `x > value → right`; a test
`x <= t` with a double t keeps its meaning when t is rounded down to the next float32.
"""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import treelite

from deploy.triton.backends.fil.forest import LEAF, check_splits, floor32
from feature_repo.vectors import Floats


def _bindings() -> ModuleType:
    """daal4py's bindings alone: the package around them imports scikit-learn, for patches that nobody here asks for,
    and that is most of what this process would load.
    """
    if "daal4py" not in sys.modules and (package := find_spec("daal4py")) is not None:
        sys.modules["daal4py"] = module_from_spec(package)  # and not run
    return import_module("daal4py._daal4py")


daal = _bindings()


class OneDal:
    """`predict` maps [n, features] float32 to [n, classes] float32, on one thread."""

    def __init__(self, checkpoint: Path) -> None:
        daal.daalinit(1)
        self._model = treelite.Model.deserialize(checkpoint)
        header = self._model.get_header_accessor()
        self.features = int(self._model.num_feature)
        self.classes = max(int(c) for c in header.get_field("num_class"))
        self._alpha = np.float32(header.get_field("sigmoid_alpha")[0])
        base = np.asarray(header.get_field("base_scores"), np.float64)
        self._base = base if base.size == self.classes else np.full(self.classes, base[0])
        owners = np.asarray(header.get_field("class_id"))
        self._forests = [_forest(self._model, np.flatnonzero(owners == c), self.features) for c in range(self.classes)]

    def predict(self, X: Floats) -> Floats:
        """The sigmoid of every class."""
        # A result owns the memory its prediction points into, and an engine reuses it: one engine for each class.
        results = [daal.gbt_regression_prediction(fptype="float").compute(X, f) for f in self._forests]
        raw = np.concatenate([result.prediction for result in results], axis=1) + self._base
        scores: Floats = 1.0 / (1.0 + np.exp(-self._alpha * raw))
        return scores.astype(np.float32)


def _forest(model: treelite.Model, trees: np.ndarray, features: int) -> Any:
    builder = daal.gbt_reg_model_builder(n_features=features, n_iterations=max(len(trees), 1))
    for index in trees:
        _add_tree(builder, model.get_tree_accessor(int(index)), int(index))
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
