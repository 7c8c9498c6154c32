"""Asking servers whether they are ready, one bounded probe at a time."""

import http.client
import time
from collections.abc import Callable, Iterable

from deploy.local.errors import NotReadyError

PROBE_SECONDS = 1.0


def http_status(host: str, port: int, path: str) -> int | None:
    """Status of one GET; None when nobody answers within a second."""
    return http_get(host, port, path)[0]


def http_get(host: str, port: int, path: str) -> tuple[int | None, bytes]:
    """Status and body of one GET; None and nothing when nobody answers within a second."""
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(1 << 16)
    except (OSError, http.client.HTTPException):
        return None, b""
    finally:
        connection.close()


def wait_model_versions(
    url: str, versions: Iterable[tuple[str, str]], timeout: float, alive: Callable[[], bool] = lambda: True
) -> None:
    """Wait until Triton at gRPC `url` reports every (model, version) ready.

    Readiness of a model alone says nothing (it stays true after an unload), so each version is asked for.
    Raises `NotReadyError` naming the versions not ready in time, or at once when `alive()` turns false.
    """
    import tritonclient.grpc as triton

    waiting = set(versions)
    deadline = time.monotonic() + timeout
    with triton.InferenceServerClient(url) as client:
        while waiting := {pair for pair in waiting if not _ready(client, *pair)}:
            if not alive() or time.monotonic() > deadline:
                names = ", ".join(f"{name}/{version}" for name, version in sorted(waiting))
                state = f"within {timeout:.0f} s" if alive() else "because Triton ended"
                raise NotReadyError(f"Triton has not loaded {names} {state}; its log says why")
            time.sleep(0.05)


def _ready(client: object, name: str, version: str) -> bool:
    from tritonclient.utils import InferenceServerException

    try:
        return bool(client.is_model_ready(name, version, client_timeout=PROBE_SECONDS))  # type: ignore[attr-defined]
    except InferenceServerException:
        return False
