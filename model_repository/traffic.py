"""The traffic record: which releases answer which share of users, and where. Exporters write it, orchestrators follow.

One JSON document under `TRAFFIC_KEY` in Redis, mirrored to a local file, so that it outlives a Redis outage and a
restart during it. Promote, canary and roll back change only this record; nothing is loaded or unloaded.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model_repository.contract import CANDIDATES

TRAFFIC_KEY = "traffic"
ServedModel = tuple[str, int]  # Triton model name, version


def popular_key(release: int) -> str:
    """Redis key of a release's popular items, a `Popular` document."""
    return f"popular:{release}"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServedRelease(_Record):
    """What an orchestrator must know of a release: the models to call, the keys its caches carry, and how many
    candidates it answers."""

    release: Annotated[int, Field(ge=1)]
    line: Annotated[int, Field(ge=1)]
    user_tower: ServedModel
    candidates: ServedModel
    recommend: ServedModel
    tower_digest: str
    schema_hash: str
    ranked: Annotated[int, Field(ge=1)] = CANDIDATES


class Arm(_Record):
    """A share of users, by hash of (salt, user)."""

    variant: str
    release: int
    share: Annotated[float, Field(gt=0, le=1)]


class Traffic(_Record):
    """The whole record; `sequence` grows with every change."""

    sequence: Annotated[int, Field(ge=1)]
    salt: str
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)]
    releases: tuple[ServedRelease, ...]
    triton: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> "Traffic":
        known = {served.release for served in self.releases}
        missing = sorted({arm.release for arm in self.arms} - known)
        if missing:
            raise ValueError(f"arms name releases {missing}, the record holds {sorted(known)}")
        total = sum(arm.share for arm in self.arms)
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"shares sum to {total}, expected 1")
        return self


class PopularItem(_Record):
    """An item of the last rung: enough to filter, show and rank it with no other service."""

    item_id: str
    price: float
    category: int
    age_days: float
    score: float
    regions: tuple[str, ...] | None = None  # None: everywhere
    metadata: dict[str, object] = {}


class Popular(_Record):
    """A release's popular items that may be sold, best first."""

    release: int
    items: tuple[PopularItem, ...]
