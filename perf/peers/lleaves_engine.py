"""lleaves (a LightGBM forest compiled by LLVM) in an environment of its own: unmaintained since 2024, it needs
llvmlite < 0.44, which nothing else here wants. The environment is made once, beside the others.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from deploy.settings import ROOT
from feature_repo.vectors import Floats
from perf.errors import PerfError

FOLDER = ROOT / ".tools" / "lleaves"
PYTHON = FOLDER / "bin" / "python"
NEEDS = ("lleaves==1.3.0", "llvmlite==0.43.0", "lightgbm==4.6.0", "numpy<2")
WORKER = Path(__file__).with_name("lleaves_worker.py")
INSTALL_S = 300


class Worker:
    """An `Engine`; a context manager around the process that holds the compiled forest. Raises PerfError."""

    def __init__(self, forest: Path, matrices: Sequence[Floats], work: Path, calls: int) -> None:
        obtain()
        np.save(work / "lleaves-rows.npy", np.stack(matrices))
        command = [str(PYTHON), str(WORKER), str(forest), str(work), str(calls)]
        self._work = work
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        try:
            self._answer()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def scores(self) -> Floats:
        """See `Engine`."""
        scores: Floats = np.load(self._work / "lleaves-scores.npy")
        return scores

    def milliseconds(self) -> float:
        """See `Engine`."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> float:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PerfError(f"lleaves cannot compile this forest (exit code {self._process.wait()})")
        return float(json.loads(line)["ms"])

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()


def obtain() -> None:
    """Make the environment unless it is there. Raises PerfError."""
    if (FOLDER / "complete").is_file():
        return
    uv = str(Path(sys.executable).with_name("uv"))
    _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(FOLDER)])
    _run([uv, "pip", "install", "--quiet", "--python", str(PYTHON), *NEEDS])
    (FOLDER / "complete").touch()


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PerfError(f"no environment for lleaves: {error}") from None
    if done.returncode:
        raise PerfError(f"no environment for lleaves: {done.stderr.strip()[-200:]}")
