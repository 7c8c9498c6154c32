"""Whom to ask for what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from deploy.settings import Settings
from perf.errors import PerfError
from perf.load.answer import Answer

ITEMS = 20
Check = Callable[[int, Answer, bytes], bool]  # number of the user, what the answer says of itself, its body


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """`GET path?user_id=…&num_items=…` on an HTTP/1.1 server, for `users` with Zipf popularity of exponent `skew`.

    A request has `timeout_s` from the moment it was due; at most `connections` are open at once. `check`, where given,
    reads each 200: what is not what it says of itself is recorded as `wrong`.
    """

    host: str
    port: int
    users: Sequence[str] = field(repr=False)
    path: str = "/recommend"
    items: int = ITEMS
    skew: float = 0.0
    timeout_s: float = 5.0
    connections: int = 1024
    check: Check | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if not self.users:
            raise ValueError("there is no user to ask for")
        if not self.path.startswith("/"):
            raise ValueError(f"path is {self.path!r}, must start with /")
        for name in ("items", "timeout_s", "connections"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must be above 0")
        if self.skew < 0:
            raise ValueError(f"skew is {self.skew}, must be at least 0")

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return f"http://{self.host}:{self.port}"

    def request(self, number: int) -> bytes:
        """The whole request for user `number`, as it goes onto the wire."""
        query = f"user_id={quote(self.users[number], safe='')}&num_items={self.items}"
        return f"GET {self.path}?{query} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n\r\n".encode()


def known_users(settings: Settings) -> list[str]:
    """The ids of the workspace's users, ascending. Raises DataError without features, PerfError without users."""
    from training.dataset import Dataset

    users = sorted({str(user) for user in Dataset(settings.features).users.index.get_level_values(0)})
    if not users:
        raise PerfError(f"{settings.features} has no users; run `make serve` first")
    return users
