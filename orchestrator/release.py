"""A release as a request needs it: its calls, prepared once."""

from dataclasses import dataclass
from typing import Protocol

from model_repository import contract
from model_repository.traffic import ServedModel, ServedRelease
from orchestrator.call import Call
from orchestrator.reasons import Reasons

# Only what the rules and the answer need travels.
RECOMMEND_OUTPUTS = tuple(t for t in contract.RECOMMEND.outputs if t.name != contract.SIMILARITY.name)
CANDIDATE_OUTPUTS = tuple(t for t in contract.CANDIDATE_SEARCH.outputs if t.name != contract.ITEM_FEATURES.name)


class Towered(Protocol):
    """Whatever names a tower and a feature schema: a record's release, a manifest."""

    @property
    def tower_digest(self) -> str:
        """Of both towers' files."""

    @property
    def schema_hash(self) -> str:
        """Of the features."""


def embedding_prefix(served: Towered) -> str:
    """What the Redis keys of a tower's user embeddings begin with; the user's id follows."""
    return f"embedding:{served.tower_digest}:{served.schema_hash}:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A served release with its prepared calls and the prefix of its cached embeddings."""

    number: int
    models: tuple[ServedModel, ...]
    targets: tuple[str, ...]
    embed: Call
    recommend: Call
    candidates: Call
    embedding_prefix: str
    reasons: Reasons | None = None

    @classmethod
    def prepare(cls, served: ServedRelease) -> "Release":
        """Everything of a release that no request changes."""

        def call(model: contract.Model, of: ServedModel, outputs: tuple[contract.Tensor, ...]) -> Call:
            return Call(model, of, contract.sized(outputs, served.ranked), served.triton)

        return cls(
            number=served.release,
            models=(served.user_tower, served.candidates, served.recommend),
            targets=served.triton,
            embed=call(contract.USER_TOWER, served.user_tower, contract.USER_TOWER.outputs),
            recommend=call(contract.RECOMMEND, served.recommend, RECOMMEND_OUTPUTS),
            candidates=call(contract.CANDIDATE_SEARCH, served.candidates, CANDIDATE_OUTPUTS),
            embedding_prefix=embedding_prefix(served),
            reasons=Reasons.prepare(served),
        )
