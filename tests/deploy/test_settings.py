"""Settings: what the environment may say, and what it may not."""

from pathlib import Path

import pytest

from deploy.settings import Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def _forget() -> None:
    load_settings.cache_clear()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TRIDENT_API_PROT", "1", "unknown setting TRIDENT_API_PROT; known: .*TRIDENT_API_PORT"),
        ("TRIDENT_API_PORT", "70000", "TRIDENT_API_PORT"),
        ("TRIDENT_HOST", "0.0.0.0", "not a loopback address"),
        ("TRIDENT_SOURCE", "../x", "TRIDENT_SOURCE"),
        ("TRIDENT_OTLP_ENDPOINT", "collector:4318", "TRIDENT_OTLP_ENDPOINT"),
        ("TRIDENT_TRACE_SHARE", "1.5", "TRIDENT_TRACE_SHARE"),
        ("TRIDENT_SPARK_OPTIONS", "spark.a=1; spark.b", "TRIDENT_SPARK_OPTIONS.*'spark.b' is not key=value"),
    ],
)
def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_every_source_has_a_workspace_of_its_own() -> None:
    runs = [Settings(seed=1), Settings(seed=2), Settings(size="tiny"), Settings(source="files", data=Path("a")),
            Settings(source="files", data=Path("b")), Settings(source="movielens", data=Path("a"))]  # fmt: skip
    assert len({run.workspace for run in runs}) == len(runs)
