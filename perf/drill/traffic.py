"""The traffic record changes under load."""

import time

from exporters.rollout import rolled_back
from exporters.traffic import TrafficStore
from model_repository.traffic import CANARY, CHAMPION, Arm, Traffic
from perf.drill.bench import Bench
from perf.drill.report import Drill, Report

TIMES = 5
EFFECT_S = 1.0  # from the write to the last answer of the arm that is gone
PATIENCE_S = 5.0


def canary_rolled_back(bench: Bench, report: Report) -> None:
    """A canary with half of the users is rolled back under load, five times: within a second of the write the last
    answer of its arm, and no request fails. (Both arms name the one release that is loaded.)"""
    store, took = TrafficStore(bench.settings), []
    with bench.front.load(bench.users(1500)) as load:
        for _ in range(TIMES):
            began = time.monotonic()
            store.change(lambda _: _halved(store.require()))
            tried = load.until(began, lambda one: one.variant == CANARY, PATIENCE_S)
            report.expect(tried < PATIENCE_S, "the canary got nobody")
            time.sleep(1.0)
            store.change(lambda _: rolled_back(store.require(), reason="drill"))
            written = time.monotonic()
            time.sleep(2 * EFFECT_S)
            late = [one.at - written for one in load.between(written, time.monotonic()) if one.variant == CANARY]
            took.append(max(late, default=0.0))
    load.judge(report)
    report.expect(all(one.full for one in load.seen), "an answer is degraded")
    report.figures["rollbacks"] = len(took)
    report.most("takes_s", max(took), EFFECT_S)


DRILLS = (Drill(name="rolled-back", fault=20, work=canary_rolled_back),)


def _halved(before: Traffic) -> Traffic:
    """Half of the users to a canary on the champion's own release."""
    (release,) = before.carried
    arms = tuple(Arm(variant=variant, release=release, share=0.5) for variant in (CHAMPION, CANARY))
    return before.model_copy(update={"arms": arms})
