"""Changing who answers whom: a step of `exporters.rollout` on the record, once Triton is ready for whoever gets users.

MLflow's aliases `champion` and `challenger` follow.
"""

from collections.abc import Callable

from deploy.settings import Settings
from exporters.publish import require_ready
from exporters.traffic import TrafficStore
from model_repository.traffic import CANARY, CHAMPION, Traffic
from training.tracking import follow

Step = Callable[[Traffic], Traffic]


def shift(settings: Settings, step: Step, force: bool = False) -> Traffic:
    """Change the record. Unless `force` is said, a release that gets users must be ready on each of its servers.

    Raises TrafficError or ServerError; nothing changed then.
    """
    store = TrafficStore(settings)

    def checked(before: Traffic | None) -> Traffic:
        known = before or store.require()
        after = step(known)
        for number in () if force else sorted(after.carried - known.carried):
            if (release := after.served(number)) is not None:
                require_ready(settings, release)
        return after

    traffic = store.change(checked)
    follow(settings, traffic.line(CHAMPION), traffic.line(CANARY))
    return traffic
