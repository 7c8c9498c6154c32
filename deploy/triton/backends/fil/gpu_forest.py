"""A Treelite checkpoint on a GPU through nvforest, the library inside Triton's FIL backend.

Two traps of its Python interface (26.10): our one-vs-all forest counts as a classifier, so `predict` answers an
arg-max and `predict_proba` the scores; and in single precision a double threshold is rounded to the *nearest* float32,
which sends a value between the two to the other side. So the thresholds are rounded down first, as on the CPU, which
keeps `x <= t` for every float32 x in both precisions.
"""

import importlib
from typing import Any

import numpy as np
import treelite
from forest import ForestError, check_splits, floor32, load

LAYOUTS = ("depth_first", "breadth_first", "layered")
PRECISIONS = ("native", "single", "double")


class GpuForestError(ValueError):
    """nvforest or the GPU is not there, or it refuses the forest; the message says which."""


class GpuForest:
    """`predict` maps [n, features] float32 to [n, classes] float32 and answers when the scores lie in host memory.

    `device` is a CUDA device id, or None for nvforest's own CPU mode (same import, no GPU). `precision` is `native`
    (what the checkpoint stores), `single` or `double`; `layout` and `chunk_size` are FIL's. `library` stands in for
    the nvforest package.
    """

    def __init__(
        self, path: str, device: int | None, precision: str = "native", layout: str = "depth_first",
        chunk_size: int | None = None, library: Any = None,
    ) -> None:  # fmt: skip
        if layout not in LAYOUTS or precision not in PRECISIONS:
            raise ForestError(f"layout {layout!r}, precision {precision!r}: known are {LAYOUTS} and {PRECISIONS}")
        library = library or _nvforest()
        model = floored(load(path))
        self.features = int(model.num_feature)
        options = {"layout": layout, "precision": None if precision == "native" else precision,
                   "default_chunk_size": chunk_size}  # fmt: skip
        place = {"device": "cpu"} if device is None else {"device": "gpu", "device_id": device}
        try:
            self._engine = library.load_from_treelite_model(model, **place, **options)
        except (RuntimeError, ImportError) as error:  # no driver, no memory, a model FIL does not evaluate
            raise GpuForestError(f"nvforest does not load {path}: {' '.join(str(error).split())}") from None
        # A regressor has no predict_proba; there `predict` is the score.
        self._scores = getattr(self._engine, "predict_proba", self._engine.predict)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Scores of every class, after the model's own post-processor."""
        if X.ndim != 2 or X.shape[1] != self.features:
            raise ForestError(f"input has shape {X.shape}, expected [n, {self.features}]")
        if not len(X):
            return np.empty((0, int(self._engine.num_outputs)), np.float32)
        scores = self._scores(np.ascontiguousarray(X, np.float32))
        host = scores.get() if hasattr(scores, "get") else scores  # CuPy's copy to the host waits for the GPU
        return np.asarray(host, np.float32).reshape(len(X), -1)


def floored(model: treelite.Model) -> treelite.Model:
    """The model with every threshold at the largest float32 below it. Refuses what the CPU's engine refuses."""
    for index in range(model.num_tree):
        tree = model.get_tree_accessor(index)
        check_splits(tree, tree.get_field("cleft"), index)
        threshold = tree.get_field("threshold")
        tree.set_field("threshold", floor32(threshold).astype(threshold.dtype))
    return model


def _nvforest() -> Any:
    try:
        return importlib.import_module("nvforest")
    except ImportError as error:
        raise GpuForestError(
            f"nvforest cannot be imported ({error}); KIND_GPU needs `pip install nvforest-cu12` in this environment"
        ) from None
