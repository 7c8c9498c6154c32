"""The architecture, guarded: who may import whom, what is generated is current, files stay readable."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.settings import ROOT
from model_repository.render import committed_configs

STAGES = ("feature_repo", "model_repository", "training", "exporters", "orchestrator", "perf", "deploy")
SHARED = ("faiss.records", "line", "overlay", "pace")
LEAVES = {"deploy.settings", *(f"deploy.triton.backends.{name}" for name in SHARED)}
ALLOWED = {
    "feature_repo": set(),
    "model_repository": {"feature_repo"},
    "training": {"feature_repo", "model_repository"},
    "exporters": {"feature_repo", "model_repository", "training"},
    "orchestrator": {"feature_repo", "model_repository"},
    "perf": {"feature_repo", "model_repository", "training", "exporters", "orchestrator", "deploy"},
    "deploy": {"feature_repo", "model_repository", "exporters", "orchestrator", "training"},
}
LIGHT = {f"feature_repo.{name}" for name in ("schema", "vectors", "rows", "context", "served", "recent")}
LONGEST_FILE = 250


def sources(folder: str) -> list[Path]:
    return sorted(p for p in (ROOT / folder).rglob("*.py") if "__pycache__" not in p.parts)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_imports_flow_one_way(stage: str) -> None:
    allowed = ALLOWED[stage] | {stage}
    for path in sources(stage):
        for name in imports(path):
            if name.split(".")[0] in STAGES and name not in LEAVES:
                assert name.split(".")[0] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_orchestrator_uses_the_light_part_of_the_feature_repo() -> None:
    used = {n for p in sources("orchestrator") for n in imports(p) if n.startswith("feature_repo")}
    assert used <= LIGHT


@pytest.mark.parametrize("heavy", ["torch", "lightgbm", "pyspark", "feast", "pandas"])
def test_importing_the_orchestrator_stays_light(heavy: str) -> None:
    code = f"import sys, orchestrator.app; raise SystemExit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("heavy", ["torch", "lightgbm", "sklearn", "feast", "pandas", "faiss"])
def test_operating_releases_stays_light(heavy: str) -> None:
    """Publishing runs beside what serves, and nobody waits for imports when he rolls back."""
    operating = "exporters.__main__, exporters.publish, exporters.retire, exporters.shift, exporters.collect"
    code = f"import sys, {operating}; raise SystemExit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_environment_is_read_in_one_place() -> None:
    readers = [
        path.relative_to(ROOT)
        for stage in STAGES
        for path in sources(stage)
        if {"environ", "getenv"}
        & {n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)}
    ]
    allowed = {Path("deploy/settings.py")} | {p.relative_to(ROOT) for p in sources("deploy/local")}
    allowed.add(Path("deploy/triton/backends/faiss/model.py"))  # Triton tells a stub nothing else of where Redis is
    assert set(readers) <= allowed  # the local runtime passes the environment on to its children


def test_committed_configs_are_what_the_contract_generates() -> None:
    for path, content in committed_configs().items():
        assert path.read_text() == content, f"{path.relative_to(ROOT)}: run `python -m exporters configs`"


@pytest.mark.parametrize("stage", STAGES)
def test_files_stay_readable(stage: str) -> None:
    for path in sources(stage):
        assert len(path.read_text().splitlines()) <= LONGEST_FILE, path.relative_to(ROOT)


def test_every_folder_of_the_house_is_there() -> None:
    assert all((ROOT / folder).is_dir() for folder in (*STAGES, "tests", "docs"))
