"""The `fil` backend: a Treelite checkpoint, the same config.pbtxt as the C++ FIL backend.

KIND_CPU is answered by `forest`, KIND_GPU by nvforest, the library inside the C++ backend.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from pace import breathe, gently, leave, preload, settle  # noqa: E402
from trident_backend import Arrays, ConfigError, ModelArgs, answer  # noqa: E402

preload("forest")  # and with it numba, which is most of what this process loads

from forest import Forest  # noqa: E402
from gpu_forest import LAYOUTS, GpuForest  # noqa: E402

# fil_backend src/shared_state.h, RapidsSharedState::load
PARAMETERS = {
    "model_type": 'get_config_param<std::string>("model_type", "xgboost")',
    "is_classifier": 'get_config_param<bool>("is_classifier"), required since 25.09',
    "cpu_nthread": 'get_config_param<int>("cpu_nthread", -1)',
    "layout": 'get_config_param<std::string>("layout", "depth_first"); memory layout, GPU and CPU of FIL only',
    "chunk_size": 'get_config_param<int>("chunk_size", 1); GPU and CPU of FIL only; absent: FIL chooses',
}


class TritonPythonModel:
    """Serves `checkpoint.tl`: input__0 [n, features] → output__0 [n, classes]."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the forest. A configuration that would change the answer's meaning is refused."""
        self._args = ModelArgs.read(args, PARAMETERS)
        self._require("model_type", "treelite_checkpoint")
        self._require("is_classifier", "false")
        self._forest = self._on_cpu() if self._args.gpu is None else self._on_gpu(self._args.gpu)
        settle()

    def finalize(self) -> None:
        """Shut down behind what still serves."""
        leave()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Score all queued requests: in one call on a GPU, apart on the CPU, which makes use of what a request's rows
        have in common."""
        responses: list[Any] = answer(requests, self._args, self._compute, apart=self._args.gpu is None)
        return responses

    def _on_cpu(self) -> Any:
        threads = self._args.integer("cpu_nthread", -1, least=-1)
        cores = os.cpu_count() or 1
        checkpoint = self._args.file("checkpoint.tl")
        return gently(lambda: Forest(checkpoint, cores if threads < 1 else threads, breathe))

    def _on_gpu(self, device: int) -> Any:
        layout, chunk = self._args.parameter("layout", LAYOUTS[0]), self._args.integer("chunk_size", 0)
        return GpuForest(self._args.file("checkpoint.tl"), device, layout=layout, chunk_size=chunk or None)

    def _compute(self, inputs: Arrays) -> Arrays:
        return {"output__0": self._forest.predict(inputs["input__0"])}

    def _require(self, key: str, value: str) -> None:
        found = self._args.parameter(key, "(missing)")
        if found != value:
            raise ConfigError(f"model {self._args.name}: parameter {key} is {found!r}; only {value!r} is served here")
