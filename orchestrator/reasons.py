"""The calls that say why a release scored as it did."""

from dataclasses import dataclass, replace

from model_repository import contract
from model_repository.traffic import ServedRelease
from orchestrator.call import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """Its candidates with their features, the matrix made of them, the forest's contributions."""

    candidates: Call
    assemble: Call
    explain: Call

    @classmethod
    def prepare(cls, served: ServedRelease) -> "Reasons | None":
        """None for a release that has no model to explain."""
        if served.assemble is None or served.explain is None:
            return None
        search, explain = contract.CANDIDATE_SEARCH, contract.EXPLAIN
        assemble = replace(contract.ASSEMBLE, inputs=contract.sized(contract.ASSEMBLE.inputs, served.ranked))
        return cls(
            candidates=Call(search, served.candidates, contract.sized(search.outputs, served.ranked), served.triton),
            assemble=Call(assemble, served.assemble, contract.sized(assemble.outputs, served.ranked), served.triton),
            explain=Call(explain, served.explain, explain.outputs, served.triton),
        )
