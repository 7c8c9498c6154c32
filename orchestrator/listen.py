"""How uvicorn runs the API. The peers that Trident is compared with are run the same way."""

from typing import Any

OPTIONS: dict[str, Any] = {
    "factory": True,
    "loop": "uvloop",
    "http": "httptools",
    "ws": "none",
    "lifespan": "on",
    "access_log": False,
    "log_level": "warning",
    "server_header": False,
    "proxy_headers": False,  # nothing here depends on the client's address
    "backlog": 2048,
}
