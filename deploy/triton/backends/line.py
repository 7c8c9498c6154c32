"""A blocking connection to Redis that sends commands as they are and gives replies as they come: RESP2, bytes."""

from collections.abc import Sequence
from typing import Any

from redis.connection import ConnectionPool


class Line:
    """One connection, made when it is first needed; no retries."""

    def __init__(self, url: str, timeout_s: float = 1.0) -> None:
        timeouts = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
        self._connection: Any = ConnectionPool.from_url(url, protocol=2, **timeouts).make_connection()

    def execute(self, commands: Sequence[tuple[str | bytes | int, ...]]) -> list[Any]:
        """One round trip. Any error ends the connection, since replies may be left on it."""
        try:
            self._connection.send_packed_command(self._connection.pack_commands(commands))
            return [self._connection.read_response() for _ in commands]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """The next call connects again."""
        self._connection.disconnect()
