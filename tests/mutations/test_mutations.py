"""Every protected fault has a patch here that removes its protection; the test that guards it must then fail.

A patch begins with `Fault NN: what it removes` and `Test: <pytest node>`, then a unified diff from the root.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.settings import ROOT

FOLDER = Path(__file__).parent
HEAD = re.compile(r"Fault (?P<fault>\d+): (?P<what>.+)\nTest: (?P<test>tests/\S+::\S.*)\n")
ELSEWHERE = shutil.ignore_patterns(".*", "var", "__pycache__", "*.egg-info")
FAILED = 1  # pytest: tests ran and some failed; anything else means that the test did not run
COVERED = {1, 2, 3, 5, 6, 7, 8, *range(10, 30), *range(31, 36)}


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
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[str]]]:
    """What each patch led to, by its name; two at a time, each in a copy of the sources of its own."""
    with ThreadPoolExecutor(2) as pool:
        folder = tmp_path_factory.mktemp("mutated")
        yield {one.path.stem: pool.submit(outcome, one, folder / one.path.stem) for one in MUTATIONS}


def outcome(mutation: Mutation, copy: Path) -> str:
    """Empty when the test failed as it should, else what happened instead."""
    shutil.copytree(ROOT, copy, ignore=ELSEWHERE)
    try:
        applied = run(copy, "git", "apply", "--whitespace=nowarn", str(mutation.path))
        if applied.returncode:
            return f"the patch no longer fits the code it changes: {applied.stderr}"
        test = run(copy, sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutation.test)
        return "" if test.returncode == FAILED else test.stdout[-2000:] + test.stderr[-2000:]
    finally:
        shutil.rmtree(copy)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=200)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.path.stem)
def test_without_its_protection_the_test_fails(mutation: Mutation, ended: dict[str, Future[str]]) -> None:
    assert ended[mutation.path.stem].result() == ""


def test_every_covered_fault_has_a_patch() -> None:
    assert {mutation.fault for mutation in MUTATIONS} >= COVERED
