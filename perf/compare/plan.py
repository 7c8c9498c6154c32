"""How much is measured."""

from dataclasses import dataclass

from perf.catalogue.forest import Trees

COMPARED = ("ranker", "retrieval", "item_features", "triton_call", "whole_path")
STAGES = (*COMPARED, "scale")  # the last one compares nobody: how much Trident carries, and how evenly
DEFAULT_ITEMS, FULL_ITEMS, FULL_TREES = 200_000, 1_000_000, "100x64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A catalogue of `items`; turns of `seconds`, `rounds` of them, by so many of `clients` as serve a server best.

    Latency is measured at `load` of the capacity; `users` ask with their embeddings cached, `strangers` without. The
    stage `scale` does so for `steady_s`.
    """

    items: int = DEFAULT_ITEMS
    trees: Trees | None = None
    stages: tuple[str, ...] = COMPARED
    rounds: int = 5
    seconds: float = 6.0
    clients: tuple[int, ...] = (4, 8, 16)
    load: float = 0.6
    latency_seconds: float = 15.0
    steady_s: float = 300.0
    users: int = 20_000
    strangers: int = 10_000

    def __post_init__(self) -> None:
        unknown = sorted(set(self.stages) - set(STAGES))
        if unknown or not self.stages:
            raise ValueError(f"unknown stages {unknown}; known: {', '.join(STAGES)}")
        if min(self.items, self.rounds, self.users, self.strangers, *self.clients) < 1 or self.seconds < 1:
            raise ValueError(f"{self}: every number must be at least 1")
        if not 0 < self.load < 1:
            raise ValueError(f"load is {self.load}, must lie between 0 and 1 of the capacity")
