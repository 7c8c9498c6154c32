"""What importing the orchestrator may pull in, and what it may import of the project."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.settings import ROOT

HEAVY = ("torch", "lightgbm", "pyspark", "feast", "pandas", "sklearn", "faiss", "onnxruntime", "treelite")
ALLOWED = (
    "orchestrator",
    "feature_repo.context",
    "feature_repo.recent",
    "feature_repo.rows",
    "feature_repo.schema",
    "feature_repo.served",
    "feature_repo.vectors",
    "model_repository.contract",
    "model_repository.traffic",
    "deploy.settings",
    "deploy.triton.backends.overlay",
)
MODULES = sorted((ROOT / "orchestrator").glob("*.py"))


def test_importing_the_application_is_light():
    code = f"import sys, orchestrator.app; print([m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_only_the_light_part_of_the_project_is_imported(module: Path):
    own = [
        name for name in imported(module) if name.split(".")[0] in {p.parent.name for p in ROOT.glob("*/__init__.py")}
    ]
    assert [name for name in own if not name.startswith(ALLOWED)] == []


def imported(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_the_environment_is_not_read_here():
    assert [m.name for m in MODULES if "os.environ" in m.read_text() or "getenv" in m.read_text()] == []
