"""The `faiss` backend: candidate search, filtering and the item table, on CPU or GPU.

`candidates/N` answers the k nearest sellable items of a user embedding, with every hit's features and rule columns.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from catalogue import Catalogue  # noqa: E402
from trident_backend import Arrays, ModelArgs, answer  # noqa: E402

PARAMETERS = {"omp_threads": "threads FAISS may use for one batch; ours, default 1"}


class TritonPythonModel:
    """Serves one generation: user_embedding [b, d], country [b, 1] → the candidates' tensors [b, k, …]."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Map the generation's files; the width k is the configured width of `item_key`."""
        self._args = ModelArgs.read(args, PARAMETERS)
        k = int(next(o["dims"][0] for o in self._args.config["output"] if o["name"] == "item_key"))
        threads = self._args.integer("omp_threads", 1, least=1)
        self._args.file("index.faiss")
        self._catalogue = Catalogue(self._args.folder, k, self._args.gpu, threads)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Search all queued requests as one batch."""
        responses: list[Any] = answer(requests, self._args, self._compute)
        return responses

    def _compute(self, inputs: Arrays) -> Arrays:
        return self._catalogue.search(inputs["user_embedding"], inputs["country"][:, 0])
