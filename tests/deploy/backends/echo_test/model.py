"""The smallest python-based backend: Y = 2 X; of a negative X it never comes back.

Under numpy 2 this server's stub answers `as_numpy` and `Tensor(…)` silently wrong and only DLPack works; under
numpy 1 `Tensor.from_dlpack` of an array ends the stub.
"""

import time

import numpy as np
import triton_python_backend_utils as pb_utils

NUMPY_1 = np.__version__.startswith("1.")


class TritonPythonModel:
    """Answers at once."""

    def execute(self, requests):
        """One response a request."""
        return [self._answer(np.from_dlpack(pb_utils.get_input_tensor_by_name(r, "X"))) for r in requests]

    def _answer(self, x):
        while x.min() < 0:
            time.sleep(1)
        make = pb_utils.Tensor if NUMPY_1 else pb_utils.Tensor.from_dlpack  # absent while this module is imported
        return pb_utils.InferenceResponse([make("Y", x * 2)])
