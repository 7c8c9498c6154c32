"""The `treeshap` backend: what each feature of a row adds to the scores of a LightGBM forest. Ours everywhere.

LightGBM computes them (`pred_contrib`: exact SHAP values of trees, Lundberg et al. 2018, arXiv:1802.03888). Whoever
asks has time, what serves beside it has not: library and forest are loaded at the first call, so that a model nobody
asks costs a bare process, and every row gives way.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from pace import breathe, gently, leave
from trident_backend import Arrays, ModelArgs, answer


class TritonPythonModel:
    """Serves `forest.txt`: the input [n, features] → the output [n, classes, features + 1], the bias last."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Look that the forest is there."""
        self._args = ModelArgs.read(args, {})
        self._file = self._args.file("forest.txt")
        (self._input,), (self._output,) = self._args.tensors("input"), self._args.tensors("output")
        self._booster: Any = None

    def finalize(self) -> None:
        """Shut down behind what still serves."""
        leave()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Explain the queued requests' rows, one after the other."""
        responses: list[Any] = answer(requests, self._args, self._compute)
        return responses

    def _compute(self, inputs: Arrays) -> Arrays:
        found: np.ndarray = gently(lambda: self._explain(inputs[self._input]))
        return {self._output: found.astype(np.float32)}

    def _explain(self, rows: np.ndarray) -> np.ndarray:
        booster = self._loaded()
        return np.concatenate([_one(booster, row) for row in rows])

    def _loaded(self) -> Any:
        if self._booster is None:
            import lightgbm

            self._booster = lightgbm.Booster(model_file=self._file)
        return self._booster


def _one(booster: Any, row: np.ndarray) -> np.ndarray:
    """A row's contributions: [1, classes, features + 1]. On one thread: more would not give way."""
    found = booster.predict(row[None], pred_contrib=True, num_threads=1)
    breathe()
    return np.asarray(found).reshape(1, booster.num_model_per_iteration(), -1)
