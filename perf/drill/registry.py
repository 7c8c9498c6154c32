"""Every drill, in the order in which they run: what restarts servers comes last."""

from perf.drill import data, inputs, overlay, overload, process, redis, traffic, triton
from perf.drill.report import Drill
from perf.errors import PerfError

ALL: tuple[Drill, ...] = (
    *data.DRILLS,
    *inputs.DRILLS,
    *overlay.DRILLS,
    *traffic.DRILLS,
    *redis.DRILLS,
    *overload.DRILLS,
    *process.DRILLS,
    *triton.DRILLS,
)
EVERY = "all"


def chosen(names: list[str]) -> list[Drill]:
    """The drills of these names; none or `all` is all of them. Raises PerfError."""
    known = {drill.name: drill for drill in ALL}
    if unknown := sorted(set(names) - {EVERY, *known}):
        raise PerfError(f"no drill is called {', '.join(unknown)}; `python -m perf drill --list` names them")
    return list(ALL) if not names or EVERY in names else [known[name] for name in dict.fromkeys(names)]
