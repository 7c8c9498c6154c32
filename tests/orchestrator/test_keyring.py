"""The admin key: off without one, and only the right one opens."""

import pytest
from pydantic import SecretStr

from orchestrator.errors import AdminOffError, UnauthorizedError
from orchestrator.keyring import AdminKey

KEY = "a-key-of-sixteen-bytes"


def test_the_right_key_opens():
    for header in (f"Bearer {KEY}", f"bearer {KEY}", f"Bearer  {KEY} "):
        AdminKey(SecretStr(KEY)).require(header.encode())


@pytest.mark.parametrize(
    "header", [None, b"", b"Bearer", b"Bearer ", KEY.encode(), b"Basic " + KEY.encode(), b"Bearer \xff"]
)
def test_anything_else_does_not(header: bytes | None):
    with pytest.raises(UnauthorizedError):
        AdminKey(SecretStr(KEY)).require(header)


@pytest.mark.parametrize("header", [None, b"Bearer ", f"Bearer {KEY}".encode()])
def test_without_a_key_it_is_closed(header: bytes | None):
    with pytest.raises(AdminOffError):
        AdminKey(None).require(header)
