"""One real stack for all end-to-end tests: the tiny sample through the whole pipeline, then Redis, Triton and the API."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from deploy.local.serve import Platform, platform
from deploy.settings import Settings
from tests.ports import free_ports


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The tiny sample in a folder of its own; a deadline that a loaded two-core machine keeps."""
    home: Path = tmp_path_factory.mktemp("e2e")
    api, redis, http, grpc, metrics = free_ports(5)
    return Settings(
        home=home, source="sample", size="tiny", seed=3, deadline_ms=3000, api_port=api, redis_port=redis,
        triton_http_port=http, triton_grpc_port=grpc, triton_metrics_port=metrics,
    )  # fmt: skip


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
