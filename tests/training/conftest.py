"""Fixtures of the training tests."""

from typing import TYPE_CHECKING

import pytest

from tests.ports import isolated_settings

if TYPE_CHECKING:
    from deploy.settings import Settings


@pytest.fixture(scope="session")
def small_line(tmp_path_factory: pytest.TempPathFactory) -> "Settings":
    """A workspace with line 1 and its features; whoever changes a file there copies it first."""
    from tests.training.small_line import write_features, write_line

    settings = isolated_settings(tmp_path_factory.mktemp("line"))
    write_features(settings.features)
    write_line(settings)
    return settings
