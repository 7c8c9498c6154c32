"""The `faiss` backend: candidate search, filtering and the item table, on CPU or GPU.

`candidates/N` answers the k nearest sellable items of a user embedding, with every hit's features and rule columns.
Where the environment names the Redis of the overlay it follows stock, safety, prices and regions from there.
"""

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import triton_python_backend_utils as pb_utils  # noqa: E402
from pace import gently, leave, preload, settle  # noqa: E402
from trident_backend import Arrays, ModelArgs, answer  # noqa: E402

preload("faiss")

from catalogue import Catalogue, Place  # noqa: E402
from gpu_index import STORAGE, to_gpu  # noqa: E402

if TYPE_CHECKING:
    from follower import Follower
    from overlay import Read

OVERLAY_REDIS = "OVERLAY_REDIS"  # environment variable: redis://…; without it there is no overlay
PARAMETERS = {  # ours: NVIDIA's container has no FAISS backend
    "omp_threads": "threads FAISS may use for one batch; default 1",
    "gpu_storage": "KIND_GPU: float16 (default) or float32, for vectors that the index stores whole",
    "gpu_scratch_mib": "KIND_GPU: memory FAISS keeps for its temporaries in each process; default 512",
}


class TritonPythonModel:
    """Serves one generation: user_embedding [b, d], country [b, 1] → the candidates' tensors [b, k, …]."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Map the generation's files; the width k is the configured width of `item_key`."""
        self._args = ModelArgs.read(args, PARAMETERS)
        k = int(next(o["dims"][0] for o in self._args.config["output"] if o["name"] == "item_key"))
        threads = self._args.integer("omp_threads", 1, least=1)
        self._args.file("index.faiss")
        self._catalogue = gently(lambda: Catalogue(self._args.folder, k, self._place(), threads))
        self._follower = self._following(os.environ.get(OVERLAY_REDIS))
        settle()

    def finalize(self) -> None:
        """Shut down behind what still serves."""
        if self._follower is not None:
            self._follower.stop()
        leave()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Search all queued requests as one batch."""
        responses: list[Any] = answer(requests, self._args, self._compute)
        return responses

    def _following(self, url: str | None) -> "Follower | None":
        """A follower that has caught up, where its Redis answers: nothing is served before."""
        if not url:
            return None
        preload("follower")
        from follower import Follower
        from gauges import Gauges

        name, version, shelf = self._args.name, self._args.folder.name, self._catalogue.shelf
        gauges = Gauges(name, version)

        def take(read: "Read") -> None:
            shelf.take(read)
            gauges.tell(read, shelf.overlaid)

        follower = Follower(url, take, lambda what: pb_utils.Logger.log_info(f"{name}/{version}: {what}"))
        gently(shelf.prepare)
        gently(follower.catch_up)
        follower.start()
        return follower

    def _place(self) -> Place | None:
        storage = self._args.parameter("gpu_storage", STORAGE[0])
        scratch = self._args.integer("gpu_scratch_mib", 512)
        device = self._args.gpu
        return None if device is None else partial(to_gpu, device=device, storage=storage, scratch_mib=scratch)

    def _compute(self, inputs: Arrays) -> Arrays:
        return self._catalogue.search(inputs["user_embedding"], inputs["country"][:, 0])
