"""What a build and a publisher need to know of the overlay, which `candidates` lays over every generation by itself.

A generation holds what the source says. The position that the overlay had when it was read goes into the manifest, and
the golden queries leave out the items that the overlay has since decided.
"""

from collections.abc import Callable, Sequence

import numpy as np
import redis

from deploy.settings import Settings
from deploy.triton.backends.line import Line
from deploy.triton.backends.overlay import IN_STOCK, IS_SAFE, REGIONS, OverlayError, Read, read, run
from feature_repo.vectors import Ints

NO_KEYS: Ints = np.empty(0, np.int64)
DECIDING = (IN_STOCK, IS_SAFE, REGIONS)  # whether an item is found; a price is not that
Report = Callable[[str], None]


def overlay_position(settings: Settings, report: Report) -> int | None:
    """How many batches the overlay has; None where Redis does not say."""
    found = _read(settings, (), report)
    return None if found is None else found.position.sequence


def decided(settings: Settings, report: Report) -> Ints:
    """Keys of the items of which the overlay says whether and where they may be shown; none where Redis is away."""
    found = _read(settings, DECIDING, report)
    keys = set().union(*(found.changes[name] for name in DECIDING)) if found else set()
    return np.fromiter(keys, np.int64, len(keys))


def _read(settings: Settings, names: Sequence[str], report: Report) -> Read | None:
    line = Line(settings.redis_url)
    try:
        return run(read(None, names), line.execute)
    except (redis.RedisError, OSError, OverlayError) as error:
        report(f"without the overlay: {error}")
        return None
    finally:
        line.close()
