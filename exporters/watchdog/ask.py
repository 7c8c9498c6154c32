"""Canary questions: one row of zeros by the model's own configuration, sent without waiting.

A question is never taken back (Triton before 25.06 may crash on that) and at most one is out for a version, so a model
that hangs costs one request in its queue.
"""

import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from exporters.errors import ServerError
from model_repository.traffic import ServedModel

STATE_S = 1.0  # for statistics and configurations


@dataclass(frozen=True, slots=True)
class Question:
    """What a version is asked; `warmed`: it may be asked before anybody else did."""

    inputs: tuple[Any, ...]
    warmed: bool


class Counts(NamedTuple):
    """Inferences of a version so far, whoever asked."""

    answered: int
    failed: int


class Asker:
    """One server. `replies` yields what came back since: (version, token, None or Triton's error)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = triton.InferenceServerClient(url)
        self._replies: queue.SimpleQueue[tuple[ServedModel, int, str | None]] = queue.SimpleQueue()
        self._questions: dict[ServedModel, Question | None] = {}

    def counts(self) -> dict[ServedModel, Counts]:
        """Of every version that is loaded. Raises ServerError."""
        statistics = self._call(self._client.get_inference_statistics)
        return {
            (one.name, int(one.version)): Counts(one.inference_stats.success.count, one.inference_stats.fail.count)
            for one in statistics.model_stats
        }

    def question(self, served: ServedModel) -> Question | None:
        """What to ask it; None for an ensemble, whose parts are asked. Raises ServerError."""
        if served not in self._questions:
            name, version = served
            found = self._call(lambda **to: self._client.get_model_config(name, str(version), **to))
            self._questions[served] = _question(found.config)
        return self._questions[served]

    def ask(self, served: ServedModel, question: Question, token: int) -> None:
        """Send it; the reply comes with the token."""

        def done(*, error: InferenceServerException | None, **_: object) -> None:
            self._replies.put((served, token, None if error is None else str(error.message())))

        name, version = served
        self._client.async_infer(name, list(question.inputs), done, str(version))

    def replies(self) -> Iterator[tuple[ServedModel, int, str | None]]:
        """Those that came, without waiting."""
        while not self._replies.empty():
            yield self._replies.get()

    def _call(self, call: Callable[..., Any]) -> Any:
        try:
            return call(client_timeout=STATE_S)
        except (InferenceServerException, grpc.RpcError) as error:
            raise ServerError(f"Triton at {self.url} does not answer: {error}") from None


def _question(config: Any) -> Question | None:
    if config.platform == "ensemble":
        return None
    rows = [1] if config.max_batch_size > 0 else []
    inputs = tuple(_zeros(tensor, rows) for tensor in config.input)
    return Question(inputs, warmed=bool(config.model_warmup))


def _zeros(tensor: Any, rows: list[int]) -> Any:
    dtype = triton.model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
    shape = rows + [max(1, int(size)) for size in tensor.dims]
    found = triton.InferInput(tensor.name, shape, dtype)
    return found.set_data_from_numpy(np.zeros(shape, triton_to_np_dtype(dtype)))
