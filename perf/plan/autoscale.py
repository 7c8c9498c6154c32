"""HorizontalPodAutoscalers (autoscaling/v2) of a plan: https://kubernetes.io/docs/concepts/workloads/autoscaling/"""

from dataclasses import dataclass
from typing import Literal

from perf.plan.size import Plan, Pool

GROWTH = 1.5  # most replicas ÷ planned ones
QUIET = 0.25  # fewest, as a share of the planned load
# Triton's counter, turned into a rate by a Prometheus adapter. A batching server is busy nearly always, so a GPU's
# utilisation says little about what it could still do; every request asks for candidates once.
REQUESTS_METRIC = "nv_inference_request_success_per_second"
COUNTED = "candidates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaler:
    """One pool's: the mean to hold, percent of its CPU or requests/s of a replica, and the bounds of its replicas."""

    name: str
    metric: Literal["cpu", "requests"]
    target: int
    least: int
    most: int

    def yaml(self) -> str:
        """The manifest."""
        return TEMPLATE.format(name=self.name, least=self.least, most=self.most, metric=_metric(self))


TEMPLATE = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {name}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}
  minReplicas: {least}
  maxReplicas: {most}
  metrics:
{metric}
  behavior:
    scaleUp: {{stabilizationWindowSeconds: 0}}
    scaleDown: {{stabilizationWindowSeconds: 300}}
"""


def autoscalers(plan: Plan) -> list[Autoscaler]:
    """Of the pools without state, which is all but Redis."""
    return [_of(plan, pool) for pool in plan.pools if pool.name != "redis"]


def manifests(plan: Plan) -> str:
    """All of them in one document."""
    return "---\n".join(one.yaml() for one in autoscalers(plan))


def _of(plan: Plan, pool: Pool) -> Autoscaler:
    least = max(2, 1 + plan.demand.spare, round(QUIET * pool.needed) + plan.demand.spare)
    held = _held_rate(plan, pool)
    return Autoscaler(
        name=f"trident-{pool.name}",
        metric="requests" if pool.gpus else "cpu",
        target=max(1, int(held if pool.gpus else 100 * held / pool.limits["CPU"])),
        least=least,
        most=max(least, round(GROWTH * pool.replicas)),
    )


def _held_rate(plan: Plan, pool: Pool) -> float:
    """Requests/s of a replica with which the spare ones may be lost and what binds stays below its highest
    utilisation."""
    highest = plan.highest_utilisation * (1 - plan.demand.swap_headroom)
    return highest * min(pool.limits.values()) * pool.needed / pool.replicas


def _metric(one: Autoscaler) -> str:
    if one.metric == "cpu":
        return (
            "    - type: Resource\n"
            f"      resource: {{name: cpu, target: {{type: Utilization, averageUtilization: {one.target}}}}}"
        )
    metric = f"{{name: {REQUESTS_METRIC}, selector: {{matchLabels: {{model: {COUNTED}}}}}}}"
    return (
        "    - type: Pods\n"
        f"      pods:\n        metric: {metric}\n        target: {{type: AverageValue, averageValue: {one.target}}}"
    )
