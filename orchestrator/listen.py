"""How uvicorn runs the API. The peers that Trident is compared with are run the same way."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestrator import inbound
from orchestrator.api import error_body
from orchestrator.errors import HttpAnswer
from orchestrator.metrics import REQUESTS, child

HEAD_BYTES = 64 * 1024  # of a request: its line and its headers
NOT_HTTP = HttpAnswer(400, "malformed", "not an HTTP request")
LARGE_HEAD = HttpAnswer(431, "too_large", f"the request's line and headers are longer than {HEAD_BYTES} bytes")


class LargeHeadError(Exception):
    """Ends the parser's work on a request; never leaves the protocol."""


class StrictHttp(HttpToolsProtocol):
    """uvicorn's protocol, which keeps a head of any size, with a bound on it and with our one error shape."""

    _chunk = 0  # bytes of what is being parsed
    _seen = 0  # bytes since this request began
    _in_head = True
    _refusal = NOT_HTTP

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; refuse a head that has no end."""
        self._chunk = len(data)
        if self._in_head:
            self._seen += self._chunk
        super().data_received(data)
        if self._in_head and self._seen > HEAD_BYTES and not self.transport.is_closing():
            self._refusal = LARGE_HEAD
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._in_head, self._seen = True, self._chunk
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there; only where more than its limit has arrived is it worth adding up."""
        self._in_head = False
        if self._seen > HEAD_BYTES and self._head_size() > HEAD_BYTES:
            self._refusal = LARGE_HEAD
            raise LargeHeadError
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what never became a request, in our words."""
        del msg
        answer = self._refusal
        body, status = error_body(answer, inbound.request_id(None)), answer.status
        reason = "Bad Request" if answer is NOT_HTTP else "Request Header Fields Too Large"
        head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
        child(REQUESTS, "none", str(status)).inc()

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)


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
    "backlog": 2048,
}
