"""A weighted sum of rankers, each standardised over the items of a user; the weights come from validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from feature_repo.vectors import Floats, Ints
from training.benchmark.protocol import Answer, Given, Judge, Model, Objective, Parameters
from training.benchmark.ranking import Ranker, Ranking, Scorer, answered, top

WEIGHTS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0)
JUDGED = 6000  # users that weights are judged by: their scores of all items are in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """Rankers by name; their weights are the parameters."""

    parts: Sequence[Ranker]
    defaults: Parameters

    def model(self, judge: Callable[[Ranking, Ints], Judge]) -> Model[Ranking]:
        """The model; `judge` judges these users of validation."""
        names = [part.name for part in self.parts]
        return Model(
            answer=self._answer, objective=partial(self._objective, judge), space=dict.fromkeys(names, WEIGHTS),
            defaults={**dict.fromkeys(names, 0.0), **self.defaults}, seeded=any(part.seeded for part in self.parts),
        )  # fmt: skip

    def _answer(self, given: Given[Ranking]) -> Answer:
        weights = given.parameters["blend"]
        scorers = {part.name: part.scorer(given, True) for part in self.parts if float(weights[part.name])}
        return answered(blended(scorers, weights), given.problem)

    def _objective(self, judge: Callable[[Ranking, Ints], Judge], given: Given[Ranking]) -> Objective:
        problem = given.problem
        every = np.random.default_rng(given.seed).permutation(len(problem.validation.users))
        rows = np.sort(every[:JUDGED])
        asked, judged = problem.validation[rows], judge(problem, rows)
        scores = {part.name: standardised(part.scorer(given, False)(asked.users)) for part in self.parts}

        def value(parameters: Parameters) -> float:
            ranked = top(_sum(scores, parameters), problem.fit, asked, problem.depth)
            return judged(Answer(ranked))[problem.metric]

        return value


def blended(scorers: Mapping[str, Scorer], weights: Parameters) -> Scorer:
    """The scorer of the weighted sum."""
    return lambda users: _sum({name: standardised(scorer(users)) for name, scorer in scorers.items()}, weights)


def standardised(scores: Floats) -> Floats:
    """Mean 0 and deviation 1 over the items of every user; what is constant becomes 0."""
    centred = scores - scores.mean(1, keepdims=True)
    return np.asarray(centred / np.maximum(centred.std(1, keepdims=True), 1e-9), np.float32)


def _sum(scores: Mapping[str, Floats], weights: Parameters) -> Floats:
    total: Floats = np.zeros_like(next(iter(scores.values())))
    for name, one in scores.items():
        if weight := float(weights[name]):
            total += np.float32(weight) * one
    return total
