"""The smallest python-based backend: Y = 2 X."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Answers at once."""

    def execute(self, requests):
        """One response a request."""
        return [self._answer(pb_utils.get_input_tensor_by_name(r, "X").as_numpy()) for r in requests]

    def _answer(self, x):
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", x * 2)])
