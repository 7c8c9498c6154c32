"""Every protected fault has a patch here that removes its protection; the test that guards it must then fail.

A patch begins with `Fault NN: what it removes` and `Test: <pytest node>`, then a unified diff from the root.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.settings import ROOT

FOLDER = Path(__file__).parent
HEAD = re.compile(r"Fault (?P<fault>\d+): (?P<what>.+)\nTest: (?P<test>tests/\S+::\S.*)\n")
ELSEWHERE = shutil.ignore_patterns(".*", "var", "__pycache__", "*.egg-info")
FAILED = 1  # pytest: tests ran and some failed; anything else means that the test did not run
COVERED = {16, 17, 18, 19, 20, 21, 22, 34, 35}


@dataclass(frozen=True, slots=True)
class Mutation:
    """One patch."""

    path: Path
    fault: int
    test: str


def read(path: Path) -> Mutation:
    found = HEAD.match(path.read_text())
    assert found, f"{path.name}: does not begin with `Fault NN: …` and `Test: tests/…::…`"
    return Mutation(path, int(found["fault"]), found["test"])


MUTATIONS = [read(path) for path in sorted(FOLDER.glob("*.patch"))]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, to be changed."""
    folder = tmp_path_factory.mktemp("mutated") / "repository"
    shutil.copytree(ROOT, folder, ignore=ELSEWHERE)
    return folder


def apply(copy: Path, patch: Path, *options: str) -> None:
    command = ["git", "apply", "--whitespace=nowarn", *options, str(patch)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{patch.name} no longer fits the code it changes: {done.stderr}"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.path.stem)
def test_without_its_protection_the_test_fails(mutation: Mutation, copy: Path) -> None:
    apply(copy, mutation.path)
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutation.test]
        ended = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
        assert ended.returncode == FAILED, ended.stdout[-2000:] + ended.stderr[-2000:]
    finally:
        apply(copy, mutation.path, "--reverse")


def test_every_fault_of_the_releases_has_a_patch() -> None:
    assert {mutation.fault for mutation in MUTATIONS} >= COVERED
