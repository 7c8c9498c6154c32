"""Set-up's pure parts, and what it says when it cannot go on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import layout, packages
from deploy.local.indexes import pip_options, uv_environment, uv_flags
from deploy.settings import ROOT, Settings, trident_variables
from tests.ports import isolated_settings

pytestmark = pytest.mark.timeout(120)


def test_pips_places_become_uvs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nextra-index-url = https://one.test/simple\n  https://two.test/simple\ncert = /ca.pem\n"
        "[install]\nfind-links = /wheels\n"
    )
    for name in list(os.environ):
        if name.startswith(("PIP_", "TORCH_", "SSL_CERT", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_INDEX_URL", "https://main.test/simple")
    monkeypatch.setenv("TORCH_INDEX_URL", "https://torch.test/cpu")
    options = pip_options(Path(sys.executable))
    flags = uv_flags(options)
    assert "--find-links=/wheels" in flags
    assert "--default-index=https://main.test/simple" in flags
    for place in ("https://one.test/simple", "https://two.test/simple", "https://torch.test/cpu"):
        assert f"--index={place}" in flags
    assert uv_environment(options)["SSL_CERT_FILE"] == "/ca.pem"


def test_without_configuration_uv_keeps_its_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_INDEX_URL", raising=False)
    assert uv_flags({}) == []


def test_the_pins_are_found_where_they_are_written() -> None:
    assert layout.torch_pin().startswith("torch==")
    assert layout.PYTRITON.startswith("nvidia-pytriton==")


def test_locks_name_no_place_and_no_torch() -> None:
    for name in ("requirements.lock", "requirements-triton.lock"):
        lines = (ROOT / name).read_text().splitlines()
        assert not [line for line in lines if "/" in line or line.startswith(("-", "torch==", "nvidia-", "cuda-"))]
        assert all("==" in line for line in lines)


def test_missing_packages_are_one_line_with_the_command() -> None:
    environment = os.environ | {"JAVA_HOME": "/nonexistent", "TRIDENT_SYSTEM_PACKAGES": "check"}
    script = str(ROOT / "deploy/local/setup.py")
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 1
    assert result.stderr.startswith("setup: missing: Java 17 or newer; install with: sudo apt-get update && ")
    assert result.stderr.count("\n") == 1


def test_java_is_looked_for_as_spark_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nonexistent")
    assert packages.java_version() is None


def test_a_child_reads_back_equal_settings(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path, seed=7, data=tmp_path)
    code = "from deploy.settings import load_settings; print(load_settings().model_dump_json())"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TRIDENT_")}
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
        env=clean | trident_variables(settings),
    )  # fmt: skip
    assert Settings.model_validate_json(child.stdout) == settings


def test_doctor_reports_every_check_as_json(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "deploy.local", "doctor", "--json"], capture_output=True, text=True, check=False,
        cwd=ROOT,
    )  # fmt: skip
    report = json.loads(result.stdout.splitlines()[-1])
    assert result.returncode == (0 if report["healthy"] else 1)
    found = {check["what"] for check in report["checks"]}
    assert {"Python", ".venv", ".venv-triton", "tritonserver", "python-backend stub", "shared memory"} <= found


def test_a_wrong_setting_is_one_line() -> None:
    environment = os.environ | {"TRIDENT_REDIS_PORT": "high"}
    command = [sys.executable, "-m", "deploy.local", "demo"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert result.returncode == 1
    assert result.stderr.startswith("error: TRIDENT_REDIS_PORT: Input should be a valid integer")
    assert result.stderr.count("\n") == 1
