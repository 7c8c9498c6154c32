"""ONNX files as functions, on the CPU."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

Arrays = Mapping[str, npt.NDArray[np.generic]]


def session(path: Path, threads: int = 0) -> ort.InferenceSession:
    """Open an ONNX file on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(opened: ort.InferenceSession, inputs: Arrays) -> npt.NDArray[np.float32]:
    """The single output of a session."""
    return np.asarray(opened.run(None, dict(inputs))[0], np.float32)
