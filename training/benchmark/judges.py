"""The judges of rankings, and their figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.vectors import Ints
from training.benchmark.protocol import Answer, Figures

Figure = Callable[[npt.NDArray[np.bool_], Ints], npt.NDArray[np.float64]]  # hits [n, k], sizes of the truths [n] → [n]


@dataclass(frozen=True, slots=True)
class RankingJudge:
    """Figures of rankings, means over the asked."""

    truth: Sequence[Ints]
    figures: Mapping[str, Figure]

    def __call__(self, answer: Answer) -> Figures:
        """Judge. Raises ValueError for rankings of another number of users."""
        if len(answer.scores) != len(self.truth):
            raise ValueError(f"{len(answer.scores)} rankings for {len(self.truth)} users; answer each once")
        hits = np.stack([np.isin(ranked, true) for ranked, true in zip(answer.scores, self.truth, strict=True)])
        sizes = np.asarray([len(true) for true in self.truth], np.int64)
        return {name: float(figure(hits, sizes).mean()) for name, figure in self.figures.items()}


@dataclass(frozen=True, slots=True)
class CandidateJudge:
    """Figures of scores [n, items] by which each user's target is ranked among candidates that only the judge knows."""

    targets: Ints  # [n], negative: not in the catalogue, and never found
    others: Ints  # [n, m]
    figures: Mapping[str, Figure]

    def __call__(self, answer: Answer) -> Figures:
        """Judge; equal scores are ranked by item number."""
        first = np.where(self.targets < 0, self.others[:, 0], self.targets)
        candidates = np.sort(np.column_stack([first, self.others]), axis=1)
        scores = np.take_along_axis(answer.scores, candidates, 1)
        order = np.argsort(-np.where(np.isfinite(scores), scores, -np.inf), axis=1, kind="stable")
        ranked = np.take_along_axis(candidates, order, 1)
        return RankingJudge(list(self.targets[:, None]), self.figures)(Answer(ranked))


def precision(k: int) -> Figure:
    """|top k ∩ truth| / k."""
    return lambda hits, _: hits[:, :k].sum(1) / k


def recall(k: int) -> Figure:
    """|top k ∩ truth| / |truth|; with one true item that is the hit rate."""
    return lambda hits, sizes: hits[:, :k].sum(1) / np.maximum(sizes, 1)


def ndcg(k: int, whole_ideal: bool = False) -> Figure:
    """Binary NDCG@k, discount log2(rank + 1); the ideal is over the best k, or over all of the truth."""

    def value(hits: npt.NDArray[np.bool_], sizes: Ints) -> npt.NDArray[np.float64]:
        gains = 1.0 / np.log2(np.arange(2, 2 + max(hits.shape[1], int(sizes.max(initial=1)))))
        ideal = np.cumsum(gains)[np.maximum(sizes if whole_ideal else np.minimum(sizes, k), 1) - 1]
        return np.asarray((hits[:, :k] * gains[: hits[:, :k].shape[1]]).sum(1) / ideal)

    return value


def reciprocal(hits: npt.NDArray[np.bool_], _: Ints) -> npt.NDArray[np.float64]:
    """1 / rank of the first hit, 0 without one; its mean is the MRR."""
    return np.where(hits.any(1), 1.0 / (hits.argmax(1) + 1), 0.0)
