"""The `onnxruntime` backend: an ONNX model, the same config.pbtxt as the C++ ONNX Runtime backend."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pace import leave, preload, settle
from trident_backend import Arrays, ConfigError, ModelArgs, answer

preload("onnxruntime")

import onnxruntime as ort  # noqa: E402

CUDA = "CUDAExecutionProvider"
# onnxruntime_backend src/onnxruntime.cc, ModelState::ModelState
PARAMETERS = {
    "intra_op_thread_count": 'TryParseModelStringParameter(params, "intra_op_thread_count", …, 0)',
    "inter_op_thread_count": 'TryParseModelStringParameter(params, "inter_op_thread_count", …, 0)',
    "execution_mode": 'TryParseModelStringParameter(params, "execution_mode", …, 0); 0 sequential, 1 parallel',
}


class TritonPythonModel:
    """Serves `model.onnx`; the configured tensors must be the graph's own."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the session on the instance's device and check its tensors against the configuration."""
        self._args = ModelArgs.read(args, PARAMETERS)
        self._session = ort.InferenceSession(
            self._args.file("model.onnx"), self._options(), providers=_providers(self._args.gpu)
        )
        # A provider that cannot start is replaced by the CPU, with no more than a line on stderr.
        if self._args.gpu is not None and CUDA not in self._session.get_providers():
            raise ConfigError(f"model {self._args.name}: onnxruntime-gpu {ort.__version__} finds no usable CUDA and "
                              "cuDNN; install `onnxruntime-gpu[cuda,cudnn]` in Triton's environment")  # fmt: skip
        self._outputs = self._args.tensors("output")
        self._check("input", self._args.tensors("input"), [i.name for i in self._session.get_inputs()])
        self._check("output", self._outputs, [o.name for o in self._session.get_outputs()])
        settle()

    def finalize(self) -> None:
        """Shut down behind what still serves."""
        leave()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run all queued requests as one batch."""
        responses: list[Any] = answer(requests, self._args, self._compute)
        return responses

    def _compute(self, inputs: Arrays) -> Arrays:
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))

    def _options(self) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._args.integer("intra_op_thread_count", 0)
        options.inter_op_num_threads = self._args.integer("inter_op_thread_count", 0)
        if self._args.integer("execution_mode", 0):
            options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

    def _check(self, side: str, configured: list[str], graph: list[str]) -> None:
        if sorted(configured) != sorted(graph):
            raise ConfigError(f"model {self._args.name}: {side} tensors {configured}, the graph has {graph}")


def _providers(gpu: int | None) -> list[Any]:
    if gpu is None:
        return ["CPUExecutionProvider"]
    if CUDA not in ort.get_available_providers():
        raise ConfigError(
            "KIND_GPU asks for the CUDA execution provider; install onnxruntime-gpu in Triton's environment"
        )
    ort.preload_dlls()  # CUDA and cuDNN of the nvidia-* packages, which no library path names
    return [(CUDA, {"device_id": gpu, "use_tf32": "0"}), "CPUExecutionProvider"]
