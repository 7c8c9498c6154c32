"""One Redis for every test of the folder; each test has a workspace of its own and empties it first."""

from collections.abc import Iterator

import pytest

from deploy.local.runtime import RedisServer
from deploy.settings import Settings
from tests.ports import isolated_settings


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of a running one."""
    settings = isolated_settings(tmp_path_factory.mktemp("redis"))
    with RedisServer(settings):
        yield settings
