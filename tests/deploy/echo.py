"""A model repository with one model served by the test backend."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

BACKENDS = Path(__file__).parent / "backends"
CONFIG = """
backend: "echo_test"
max_batch_size: 8
input [{ name: "X" data_type: TYPE_FP32 dims: [4] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [4] }]
instance_group [{ kind: KIND_CPU count: 1 }]
version_policy { all {} }
"""


def write_model(repository: Path, *versions: int) -> None:
    """`echo/config.pbtxt` and the version folders."""
    for version in versions:
        (repository / "echo" / str(version)).mkdir(parents=True, exist_ok=True)
    (repository / "echo" / "config.pbtxt").write_text(CONFIG)


def ask(url: str, version: str = "") -> list[float]:
    """Send 0, 1, 2, 3 and return what comes back."""
    with triton.InferenceServerClient(url) as client:
        tensor = triton.InferInput("X", [1, 4], "FP32")
        tensor.set_data_from_numpy(np.arange(4, dtype=np.float32)[None])
        answer = client.infer("echo", [tensor], model_version=version, client_timeout=5.0)
        return [float(v) for v in answer.as_numpy("Y")[0]]


@contextmanager
def asked_for_ever(url: str, version: str) -> Iterator[None]:
    """Inside the block the version works on something that it never ends."""
    with triton.InferenceServerClient(url) as client:
        tensor = triton.InferInput("X", [1, 4], "FP32")
        tensor.set_data_from_numpy(np.full((1, 4), -1, np.float32))
        client.async_infer("echo", [tensor], lambda **_: None, model_version=version)
        yield


def load(url: str) -> None:
    """Load (or reload) the model's versions as the folder says."""
    with triton.InferenceServerClient(url) as client:
        client.load_model("echo", client_timeout=30.0)


def unload(url: str) -> None:
    """Unload every version."""
    with triton.InferenceServerClient(url) as client:
        client.unload_model("echo", client_timeout=30.0)
