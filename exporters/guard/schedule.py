"""When a canary gets how many users."""

from dataclasses import dataclass

STEPS = (5.0, 25.0, 100.0)
HOLD_S = 600.0
EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Percent of the users by step, and how long each is held at least; a step also waits for enough answers."""

    steps: tuple[float, ...] = STEPS
    hold_s: float = HOLD_S
    every_s: float = EVERY_S

    def __post_init__(self) -> None:
        if not self.steps or list(self.steps) != sorted(set(self.steps)) or not self.steps[0] > 0:
            raise ValueError(f"steps {self.steps} must ascend from above 0")
        if self.steps[-1] > 100:
            raise ValueError(f"the last step is {self.steps[-1]:g} %, at most 100")
        if self.hold_s < 0 or self.every_s <= 0:
            raise ValueError("hold_s must not be negative and every_s must be above 0")
