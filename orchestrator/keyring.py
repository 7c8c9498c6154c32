"""Who may use the admin endpoints: whoever shows the admin key as `Authorization: Bearer <key>`."""

import hmac

from pydantic import SecretStr

from orchestrator.errors import AdminOffError, UnauthorizedError

SCHEME = b"bearer"


class AdminKey:
    """The key, or its absence, which closes every endpoint that asks for it."""

    def __init__(self, key: SecretStr | None) -> None:
        self._key = None if key is None else key.get_secret_value().encode()

    def require(self, authorization: bytes | None) -> None:
        """Raises AdminOffError without a key set, UnauthorizedError unless the header shows it. Constant time."""
        if self._key is None:
            raise AdminOffError("admin endpoints are off; set TRIDENT_ADMIN_KEY to open them")
        scheme, _, shown = (authorization or b"").partition(b" ")
        if scheme.lower() != SCHEME or not hmac.compare_digest(shown.strip(), self._key):
            raise UnauthorizedError("the admin key is missing or wrong; send it as Authorization: Bearer <key>")
