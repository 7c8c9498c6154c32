"""Asking servers whether they are ready, one bounded probe at a time."""

import http.client

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
