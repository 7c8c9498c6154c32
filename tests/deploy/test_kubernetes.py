"""The manifests say what this revision's commands and settings understand."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.settings import ROOT, Settings

MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))


def containers(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for one in node for found in containers(one)]
    if not isinstance(node, dict):
        return []
    return list(node.get("containers", [])) + [found for one in node.values() for found in containers(one)]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_setting_of_a_container_exists(path: Path) -> None:
    known = {f"TRIDENT_{name.upper()}" for name in Settings.model_fields}
    found = containers(list(yaml.safe_load_all(path.read_text())))
    assert found
    assert {one["name"] for each in found for one in each.get("env", ()) if one["name"].startswith("TRIDENT_")} <= known


def test_tritons_liveness_is_what_the_watchdog_says() -> None:
    path = ROOT / "deploy" / "kubernetes" / "triton-deployment.yaml"
    triton, watchdog = containers(yaml.safe_load(path.read_text()))
    port = Settings.model_fields["watchdog_port"].default
    assert triton["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port}
    assert [one["containerPort"] for one in watchdog["ports"]] == [port]
    assert {"name": "TRIDENT_TRITON_CONTROL", "value": "none"} in watchdog["env"]
    assert "--model-control-mode=none" in triton["args"]
    _, *command = watchdog["command"]
    helped = subprocess.run([sys.executable, *command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert helped.returncode == 0, helped.stderr
