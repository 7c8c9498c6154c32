"""A calibration's result: what one request costs on the machine it ran on, and what is stored for users and items.

`perf/results/profile-2-cores.json` is the one the planner reads by default; `python -m perf plan --calibrate` makes it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.settings import ROOT
from perf.errors import PerfError
from perf.plan.work import Work

STORED = ROOT / "perf" / "results" / "profile-2-cores.json"
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Costs(_Part):
    """CPU milliseconds of one role: always, and by the terms of `Work`."""

    base: Amount = 0.0
    per_1000_candidates: Amount = 0.0
    per_million_visits: Amount = 0.0
    per_scanned_mib: Amount = 0.0
    per_miss: Amount = 0.0

    def cpu_ms(self, work: Work) -> float:
        """For a request on average."""
        return float(sum(getattr(self, name) * amount for name, amount in work.terms().items()))


class Stored(_Part):
    """Bytes in Redis: a user's packed row, a cached embedding, a list of shown items, an item's display data, each
    with its key; bytes of a line's graphs and forest, of an item's table row."""

    user_row: Amount
    embedding: Amount
    shown: Amount
    display: Amount
    line: Amount
    item_row: Amount


class Seen(_Part):
    """One measured setting at saturation, as it was: the raw material of the fit."""

    name: str
    items: int
    candidates: int
    trees: int
    leaves: float
    misses: float
    scanned_mib: float
    visits: float
    cores: int
    rate: Annotated[float, Field(gt=0)]
    cpu_ms: dict[str, float]
    latency_one_client_ms: float
    scv_one_client: float
    others_cores: Annotated[float, Field(ge=0, description="cores that other processes used meanwhile")] = 0.0

    @property
    def work(self) -> Work:
        """What a request of it asks for."""
        return Work(candidates=self.candidates, visits=self.visits, scanned_mib=self.scanned_mib, misses=self.misses)


class Profile(_Part):
    """Costs by role (the generator is a role of its own), and how a loaded stack spends its cores."""

    machine: dict[str, Any]
    run: dict[str, Any] = {}
    roles: dict[str, Costs]
    generator_ms: Amount
    cores_used: Annotated[float, Field(gt=0, le=1, description="share of the cores at work at saturation")]
    scv: Annotated[float, Field(ge=0, description="of a request's time, one client")]
    overhead_ms: Annotated[float, Field(ge=0, description="of a request's time, one client, that is no CPU")]
    stored: Stored
    seen: tuple[Seen, ...]

    def spread(self, parts: Sequence[float]) -> float:
        """The scv that each of several independent times needs for their sum to have the profile's:
        Σ scvᵢ·pᵢ² = scv·(Σ p)²."""
        squares = sum(part**2 for part in parts)
        return self.scv * sum(parts) ** 2 / squares if squares else 0.0

    def cpu_ms(self, work: Work) -> dict[str, float]:
        """CPU milliseconds of a request by role, the generator's apart."""
        return {role: costs.cpu_ms(work) for role, costs in self.roles.items()}

    def miss_ms(self) -> dict[str, float]:
        """CPU milliseconds that a request adds by role when its user's embedding is not cached."""
        return {role: costs.per_miss for role, costs in self.roles.items()}


def load(path: Path = STORED) -> Profile:
    """Read a stored profile. Raises PerfError naming what is wrong with it."""
    try:
        return Profile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise PerfError(f"{path}: {error.strerror}; make one with `python -m perf plan --calibrate`") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise PerfError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; calibrate again") from None
