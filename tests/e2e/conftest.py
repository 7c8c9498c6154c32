"""One real stack for all end-to-end tests: the tiny sample through the pipeline, then Redis, Triton and the API."""

from collections.abc import Iterator

import httpx
import pytest
from rich.console import Console

from deploy.local.serve import Platform, platform
from deploy.settings import Settings
from tests.ports import isolated_settings


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The tiny sample in a folder of its own; a deadline that a loaded two-core machine keeps."""
    home = tmp_path_factory.mktemp("e2e")
    return isolated_settings(home, seed=3, deadline_ms=3000, admin_key="an-admin-key-for-tests")


@pytest.fixture(scope="session")
def stack(settings: Settings) -> Iterator[Platform]:
    """Everything up; the pipeline runs once for the whole session."""
    with platform(settings, Console(stderr=True)) as running:
        yield running


@pytest.fixture
def api(stack: Platform) -> Iterator[httpx.Client]:
    """A client of the running API."""
    with httpx.Client(base_url=stack.url, timeout=10.0) as client:
        yield client
