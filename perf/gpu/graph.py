"""An ONNX graph on either device: with host arrays, and with its tensors bound to the device."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort

from feature_repo.vectors import Floats
from perf.gpu.device import AbsentError, Arrays

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
# TF32 keeps 10 bits of a mantissa; the towers' parity is stated for whole FP32.
CUDA_OPTIONS = {"device_id": "0", "use_tf32": "0"}


class OnnxGraph:
    """A session on one device; the graphs here have one output each."""

    def __init__(self, path: Path, device: Literal["cpu", "cuda"]) -> None:
        self._device = device
        self._session = ort.InferenceSession(path, providers=_providers(device))
        # A provider that cannot start is replaced by the CPU with no more than a line on stderr.
        if device == "cuda" and CUDA not in self._session.get_providers():
            raise AbsentError(f"onnxruntime-gpu {ort.__version__} found no usable CUDA and cuDNN for {CUDA}")
        self._output = self._session.get_outputs()[0].name

    def run(self, inputs: Arrays) -> Floats:
        """Copies in, computes, copies out."""
        return np.asarray(self._session.run([self._output], dict(inputs))[0], np.float32)

    def bind(self, inputs: Arrays) -> Callable[[], None]:
        """The inputs stay on the device, the output is left there."""
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, self._device, 0))
        binding.bind_output(self._output, self._device, 0)

        def once() -> None:
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return once


def random_inputs(path: Path, rows: int, others: int, seed: int = 0) -> Arrays:
    """Standard-normal floats and random 64-bit integers for each input; the first free dimension is `rows` long, any
    further one `others`.
    """
    rng = np.random.default_rng(seed)
    session = ort.InferenceSession(path, providers=[CPU])
    return {i.name: _draw(rng, i.type, _shape(i.shape, rows, others)) for i in session.get_inputs()}


def _shape(dimensions: list[int | str], rows: int, others: int) -> tuple[int, ...]:
    return tuple(d if isinstance(d, int) else rows if at == 0 else others for at, d in enumerate(dimensions))


def _draw(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    if kind == "tensor(int64)":
        return rng.integers(-(2**63), 2**63 - 1, shape)
    return rng.standard_normal(shape, np.float32)


def _providers(device: str) -> list[object]:
    if device == "cpu":
        return [CPU]
    if CUDA not in ort.get_available_providers():
        raise AbsentError(f"onnxruntime {ort.__version__} has no {CUDA}; install onnxruntime-gpu in its place")
    ort.preload_dlls()  # CUDA and cuDNN of the nvidia-* packages, which no library path names
    return [(CUDA, CUDA_OPTIONS), CPU]
