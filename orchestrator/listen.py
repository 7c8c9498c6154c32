"""How uvicorn runs the API. The peers that Trident is compared with are run the same way."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestrator import inbound
from orchestrator.api import error_body
from orchestrator.errors import HttpAnswer
from orchestrator.metrics import REQUESTS, child

HEAD_BYTES = 64 * 1024  # of a request, its line and its headers; noticed at the end of the piece that goes beyond
PIECE = 16 * 1024  # bytes parsed at once
NOT_HTTP = HttpAnswer(400, "malformed", "not an HTTP request")
LARGE_HEAD = HttpAnswer(431, "too_large", f"the request's line and headers are longer than {HEAD_BYTES} bytes")


class StrictHttp(HttpToolsProtocol):
    """uvicorn's protocol, which keeps a head of any size, with a bound on it and with our one error shape."""

    _waiting = 0  # bytes that arrived while the head had no end

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; refuse a head that does not end."""
        if len(data) <= PIECE:
            self._parse(data)
            return
        for start in range(0, len(data), PIECE):
            if not self.transport.is_closing():
                self._parse(data[start : start + PIECE])

    def _parse(self, data: bytes) -> None:
        super().data_received(data)
        if self.scope is not None and "path" in self.scope:  # the head's end puts it there
            self._waiting = 0
            return
        self._waiting += len(data)
        if self._waiting > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(LARGE_HEAD, "Request Header Fields Too Large")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in our words."""
        del msg
        self._refuse(NOT_HTTP, "Bad Request")

    def _refuse(self, answer: HttpAnswer, reason: str) -> None:
        body, status = error_body(answer, inbound.request_id(None)), str(answer.status)
        head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
        child(REQUESTS, "none", status).inc()


OPTIONS: dict[str, Any] = {
    "factory": True,
    "loop": "uvloop",
    "http": StrictHttp,
    "ws": "none",
    "lifespan": "on",
    "access_log": False,
    "log_config": None,  # `logs.configure` takes its lines
    "log_level": "warning",
    "server_header": False,
    "proxy_headers": False,  # nothing here depends on the client's address
    "backlog": 2048,
}
