"""Triton's model control, from the publisher's side: load, wait for a *version*, ask."""

import time
from collections.abc import Callable, Collection, Mapping

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
from pydantic import SecretStr
from tritonclient.utils import InferenceServerException

from exporters.errors import ServerError
from model_repository.contract import Model
from model_repository.control import GRPC_HEADER
from model_repository.traffic import ServedModel

LOAD_TIMEOUT = 120.0
POLL = 0.1
STAYING = ("READY", "UNLOADING")
DTYPES = {"FP32": np.float32, "INT64": np.int64, "INT32": np.int32, "UINT8": np.uint8}


class Server:
    """One Triton server, by its gRPC address. `key` is what its model control asks for, where that is restricted."""

    def __init__(self, url: str, key: SecretStr | None = None) -> None:
        self.url = url
        self._client = triton.InferenceServerClient(url)
        self._control = {GRPC_HEADER: key.get_secret_value()} if key else None

    def check(self) -> None:
        """Raise ServerError when Triton does not answer."""
        try:
            if self._client.is_server_live(client_timeout=5.0):
                return
        except InferenceServerException as error:
            raise ServerError(f"no Triton at {self.url}: {error.message()}; start it with `make serve`") from None
        raise ServerError(f"Triton at {self.url} is not live")

    def load(self, model: str) -> None:
        """Load every version of the model that is not loaded yet; loaded ones are left alone."""
        try:
            self._client.load_model(model, headers=self._control, client_timeout=LOAD_TIMEOUT)
        except InferenceServerException as error:
            raise ServerError(f"Triton refused to load {model}: {error.message()}") from None

    def unload(self, model: str) -> None:
        """Unload every version of the model. Raises ServerError."""
        try:
            self._client.unload_model(model, headers=self._control, client_timeout=LOAD_TIMEOUT)
        except InferenceServerException as error:
            raise ServerError(f"Triton refused to unload {model}: {error.message()}") from None

    def ready(self, model: str, version: int) -> bool:
        """Whether this very version answers."""
        try:
            return bool(self._client.is_model_ready(model, str(version), client_timeout=5.0))
        except InferenceServerException:
            return False

    def loaded(self) -> set[ServedModel]:
        """Every model version that is loaded. Raises ServerError."""
        return self._held({"READY"})

    def _held(self, states: Collection[str]) -> set[ServedModel]:
        try:
            index = self._client.get_model_repository_index(headers=self._control, client_timeout=5.0)
        except InferenceServerException as error:
            raise ServerError(f"Triton at {self.url} does not list its models: {error.message()}") from None
        return {(entry.name, int(entry.version)) for entry in index.models if entry.state in states and entry.version}

    def wait(self, model: str, version: int, timeout: float = LOAD_TIMEOUT) -> None:
        """Wait for one version. Raises ServerError."""
        _until(lambda: self.ready(model, version), timeout, f"{model} version {version} is not ready")

    def await_gone(self, model: str, version: int, timeout: float = LOAD_TIMEOUT) -> None:
        """Wait until the version has left, its process included. Raises ServerError."""
        left = f"{model} version {version} is still unloading"
        _until(lambda: (model, version) not in self._held(STAYING), timeout, left)

    def infer(
        self, model: Model, name: str, version: int, inputs: Mapping[str, npt.NDArray[np.generic]]
    ) -> dict[str, npt.NDArray[np.generic]]:
        """One inference by the contract. Raises ServerError."""
        dtypes = {tensor.name: tensor.dtype for tensor in model.inputs}
        requests = []
        for tensor, array in inputs.items():
            request = triton.InferInput(tensor, list(array.shape), dtypes[tensor])
            requests.append(request.set_data_from_numpy(np.ascontiguousarray(array, DTYPES[dtypes[tensor]])))
        try:
            answer = self._client.infer(name, requests, str(version), client_timeout=30.0)
        except InferenceServerException as error:
            raise ServerError(f"{name} version {version} answered an error: {error.message()}") from None
        return {tensor.name: answer.as_numpy(tensor.name) for tensor in model.outputs}


def _until(holds: Callable[[], bool], timeout: float, problem: str) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            raise ServerError(f"{problem} after {timeout:.0f} s; see Triton's log")
        time.sleep(POLL)
