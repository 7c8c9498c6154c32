"""Stands in for the nvforest package: its documented interface over Treelite's own evaluation.

It has the package's two traps: a one-vs-all forest is a classifier whose `predict` answers an arg-max, and in single
precision thresholds are rounded to the nearest float32. `ForestInference.get` is CuPy's copy to the host.
"""

from typing import Any

import numpy as np
import treelite


class OnGpu:
    """An array in another memory: only `get` shows it."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def get(self) -> np.ndarray:
        """Copied to the host."""
        return self._array.copy()


class Classifier:
    """What `load_from_treelite_model` answers for our forests."""

    def __init__(self, model: treelite.Model, options: dict[str, Any]) -> None:
        self.options, self._model, self._on_gpu = options, model, options["device"] == "gpu"
        self.num_outputs = int(max(model.get_header_accessor().get_field("num_class")))

    def predict(self, X: np.ndarray) -> Any:
        """The class, which is not a score."""
        return self._scores(X).argmax(axis=1)

    def predict_proba(self, X: np.ndarray) -> Any:
        """The scores."""
        scores = self._scores(X)
        return OnGpu(scores) if self._on_gpu else scores

    def _scores(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(treelite.gtil.predict(self._model, X)).reshape(len(X), -1)


class Nvforest:
    """The package; `loaded` is the last model's options. `broken` is what a machine without a driver says."""

    def __init__(self, broken: str = "") -> None:
        self.loaded: dict[str, Any] = {}
        self._broken = broken

    def load_from_treelite_model(self, model: treelite.Model, **options: Any) -> Classifier:
        """As nvforest 26.10."""
        if self._broken:
            raise RuntimeError(self._broken)
        self.loaded = options
        return Classifier(_rounded(model) if options["precision"] == "single" else model, options)


def _rounded(model: treelite.Model) -> treelite.Model:
    for index in range(model.num_tree):
        tree = model.get_tree_accessor(index)
        with np.errstate(over="ignore"):
            tree.set_field("threshold", tree.get_field("threshold").astype(np.float32).astype(np.float64))
    return model
