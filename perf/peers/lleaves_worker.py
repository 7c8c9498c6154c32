"""Runs in the environment of lleaves: compiles a forest, stores its scores, then times it for every line on stdin.

    python lleaves_worker.py <forest.txt> <folder with lleaves-rows.npy> <calls>

lleaves knows no one-vs-all objective: it gets the same trees as `multiclass` and answers raw scores; the sigmoid is
taken here and counts.
"""  # fmt: skip

import json
import re
import sys
import time
from itertools import cycle, islice
from pathlib import Path

import lleaves  # type: ignore[import-not-found]  # of another environment
import numpy as np

OBJECTIVE = re.compile(r"^objective=multiclassova (num_class:\d+) sigmoid:1$", re.MULTILINE)


def main(forest: str, work: str, calls: int) -> None:
    """Answers {"ms": mean of `calls` calls}, the first time when it is ready."""
    text, replaced = OBJECTIVE.subn(r"objective=multiclass \1", Path(forest).read_text())
    assert replaced == 1, "not a merged forest"
    source = Path(work) / "lleaves-forest.txt"
    source.write_text(text)
    model = lleaves.Model(model_file=str(source))
    model.compile(raw_score=True)
    matrices = np.load(f"{work}/lleaves-rows.npy")
    np.save(f"{work}/lleaves-scores.npy", predict(model, matrices[0]))
    say(0.0)
    for _ in sys.stdin:
        started = time.perf_counter()
        for matrix in islice(cycle(matrices), calls):
            predict(model, matrix)
        say((time.perf_counter() - started) * 1000 / calls)


def predict(model: lleaves.Model, matrix: np.ndarray) -> np.ndarray:
    """[n, features] → [n, classes]."""
    return np.asarray(1.0 / (1.0 + np.exp(-model.predict(matrix, n_jobs=1))))


def say(milliseconds: float) -> None:
    """One answer."""
    sys.stdout.write(json.dumps({"ms": milliseconds}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
