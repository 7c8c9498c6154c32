"""The engines that Triton serves, imported from their backend folder: what is measured is what answers."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

from deploy.settings import ROOT
from perf.gpu.device import AbsentError, Predictor

FIL = ROOT / "deploy" / "triton" / "backends" / "fil"


def fil_engine(module: str) -> ModuleType:
    """`forest` (CPU) or `gpu_forest` (nvforest) of the `fil` backend."""
    if str(FIL) not in sys.path:
        sys.path.append(str(FIL))
    return importlib.import_module(module)


def load_nvforest(
    checkpoint: Path, gpu: int | None, precision: str = "native", layout: str = "depth_first"
) -> Predictor:
    """The engine of KIND_GPU, on a GPU or in nvforest's CPU mode. Raises AbsentError."""
    engine = fil_engine("gpu_forest")
    try:
        loaded: Predictor = engine.GpuForest(str(checkpoint), gpu, precision=precision, layout=layout)
    except engine.GpuForestError as error:
        raise AbsentError(str(error)) from None
    return loaded
