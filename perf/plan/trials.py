"""The settings a calibration measures, and those a validation predicts first: no setting is in both."""

from dataclasses import dataclass

from perf.catalogue.forest import Trees

FOREST = Trees(rounds=100, leaves=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One setting: catalogue, K, trees of each objective, share of requests without a cached embedding, cores of the
    stack (None: all)."""

    name: str
    items: int = 50_000
    candidates: int = 500
    trees: Trees = FOREST
    misses: float = 0.0
    cores: int | None = None

    def __post_init__(self) -> None:
        if min(self.items, self.candidates) < 1 or not 0 <= self.misses <= 1:
            raise ValueError(f"not a setting: {self}")

    @property
    def total_trees(self) -> int:
        """Trees of the forest: three objectives."""
        return 3 * self.trees.rounds


CALIBRATION = (
    Trial(name="base"),
    Trial(name="no embedding cached", misses=1.0),
    Trial(name="a fifth of the candidates", candidates=100),
    Trial(name="a fifth of the trees", trees=Trees(rounds=20, leaves=64)),
    Trial(name="four times the items", items=200_000),
    Trial(name="all smaller", items=20_000, candidates=250, trees=Trees(rounds=50, leaves=32)),
)
VALIDATION = (
    Trial(name="candidates", candidates=300),
    Trial(name="trees", trees=Trees(rounds=60, leaves=32)),
    Trial(name="hit rate", misses=0.3),
    Trial(name="items", items=120_000),
    Trial(name="cores", candidates=400, trees=Trees(rounds=80, leaves=64), cores=1),
)
