"""The ranker stage on other engines: the same forest, the same rows, one thread.

`open_forests` opens what this machine has; an engine that is missing is named with the reason.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Protocol

import numpy as np
import treelite

from feature_repo.vectors import Floats
from perf.errors import PerfError
from perf.peers import lleaves_engine
from perf.peers.models import Release, Score, lightgbm, served_forest
from perf.peers.onedal_forest import OneDal
from perf.peers.onnx_forest import onnx_forest

SERVED = "trident"  # the engine of Triton's `fil` backend here
LIGHTGBM = "lightgbm"
CALLS = 24  # in one sample


class Engine(Protocol):
    """A forest opened by one engine on some matrices [n, RANKER_WIDTH]."""

    def scores(self) -> Floats:
        """Of the first matrix: [n, objectives]."""

    def milliseconds(self) -> float:
        """One call, the mean of `CALLS` calls that go round the matrices."""


@dataclass(frozen=True, slots=True)
class Here:
    """An engine in this process."""

    score: Score
    matrices: Sequence[Floats]

    def scores(self) -> Floats:
        """See `Engine`."""
        return self.score(self.matrices[0])

    def milliseconds(self) -> float:
        """See `Engine`."""
        started = time.perf_counter()
        for matrix in islice(cycle(self.matrices), CALLS):
            self.score(matrix)
        return (time.perf_counter() - started) * 1000 / CALLS


@dataclass(frozen=True, slots=True, kw_only=True)
class Forests:
    """The engines that opened, and why the others did not."""

    engines: dict[str, Engine]
    missing: dict[str, str]


def open_forests(release: Release, matrices: Sequence[Floats], work: Path, held: ExitStack) -> Forests:
    """Every engine on the release's forest; compiled ones are built in `work`, processes end with `held`."""
    openers: dict[str, Callable[[], Engine]] = {
        SERVED: lambda: Here(served_forest(release.checkpoint), matrices),
        LIGHTGBM: lambda: Here(lightgbm(release.forest), matrices),
        "onedal": lambda: Here(OneDal(release.checkpoint).predict, matrices),
        "treelite_gtil": lambda: Here(_gtil(release.checkpoint), matrices),
        "onnxruntime": lambda: Here(_onnxruntime(release.checkpoint), matrices),
        "tl2cgen": lambda: Here(_tl2cgen(release.checkpoint, work), matrices),
        "lleaves": lambda: held.enter_context(lleaves_engine.Worker(release.forest, matrices, work, CALLS)),
    }
    forests = Forests(engines={}, missing={})
    for name, opener in openers.items():
        try:
            forests.engines[name] = opener()
        except PerfError as error:
            forests.missing[name] = str(error)
    return forests


def _gtil(checkpoint: Path) -> Score:
    model = treelite.Model.deserialize(checkpoint)
    return lambda matrix: np.asarray(treelite.gtil.predict(model, matrix, nthread=1)).reshape(len(matrix), -1)


def _onnxruntime(checkpoint: Path) -> Score:
    session = onnx_forest(checkpoint)
    return lambda matrix: np.asarray(session.run(None, {"x": matrix})[0])


def _tl2cgen(checkpoint: Path, work: Path) -> Score:
    """The forest as C, compiled by gcc."""
    import shutil

    import tl2cgen

    if shutil.which("gcc") is None:
        raise PerfError("gcc is missing; apt-get install gcc")
    library = work / "tl2cgen.so"
    model = treelite.Model.deserialize(checkpoint)
    try:
        tl2cgen.export_lib(model, toolchain="gcc", libpath=str(library), params={"parallel_comp": 8}, verbose=False)
    except (tl2cgen.TL2cgenError, RuntimeError, OSError) as error:
        raise PerfError(f"gcc did not compile the forest: {str(error).splitlines()[-1]}") from None
    predictor = tl2cgen.Predictor(str(library), nthread=1)
    return lambda matrix: np.asarray(predictor.predict(tl2cgen.DMatrix(matrix))).reshape(len(matrix), -1)
