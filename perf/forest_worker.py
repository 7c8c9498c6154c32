"""Runs in Triton's environment: times the `fil` backend's engine once for every line on stdin.

    python forest_worker.py <backend folder> <checkpoint.tl> <work folder with rows.npy> <calls>
"""  # fmt: skip

import json
import sys
import time

import numpy as np


def main(backend: str, checkpoint: str, work: str, calls: int) -> None:
    """Load the engine, store its scores beside the rows, then answer {"ms": mean of `calls` calls} per line."""
    sys.path.insert(0, backend)
    from forest import Forest

    engine, rows = Forest(checkpoint, threads=1), np.load(f"{work}/rows.npy")
    np.save(f"{work}/scores.npy", engine.predict(rows))
    for _ in sys.stdin:
        started = time.perf_counter()
        for _ in range(calls):
            engine.predict(rows)
        sys.stdout.write(json.dumps({"ms": (time.perf_counter() - started) * 1000 / calls}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
