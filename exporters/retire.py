"""Retiring a release: unlisted at once, taken off Triton when no orchestrator may call it any more.

Killed in between, it stays unlisted, and the next publish or gc takes it out.
"""

import time
from collections.abc import Callable

from deploy.settings import Settings
from exporters.errors import TrafficError
from exporters.lock import publishing
from exporters.publish import in_use, servers_of
from exporters.repository import sweep
from exporters.rollout import retired
from exporters.traffic import TrafficStore
from model_repository.traffic import Traffic

GRACE_S = 3.0  # an orchestrator follows the record within a second, and a request lives for a tenth of one
PATIENCE_S = 60.0
POLL_S = 0.2


def retire(
    settings: Settings,
    number: int,
    report: Callable[[str], None],
    grace_s: float = GRACE_S,
    patience_s: float = PATIENCE_S,
) -> Traffic:
    """Unlist the release, wait for its users to leave, unload it. Raises TrafficError naming who still calls it."""
    store = TrafficStore(settings)
    with publishing(settings):
        report("unlist")
        traffic = store.change(lambda _: retired(store.require(), number))
        report("wait until nobody calls it")
        time.sleep(grace_s)
        _await_unused(store, number, time.monotonic() + patience_s)
        report("unload")
        if settings.triton_control == "explicit":
            sweep(settings.runtime_repository, servers_of(settings), in_use(settings, store))
        store.forget_popular(number)
    return traffic


def _await_unused(store: TrafficStore, number: int, deadline: float) -> None:
    while users := sorted(beat.instance for beat in store.heartbeats() if number in beat.releases):
        if time.monotonic() > deadline:
            raise TrafficError(
                f"release {number} is unlisted, but {', '.join(users[:3])} still calls it (Redis out of its reach?); "
                "`python -m exporters gc` takes it off Triton later"
            )
        time.sleep(POLL_S)
