"""HorizontalPodAutoscalers (autoscaling/v2) of a plan: https://kubernetes.io/docs/concepts/workloads/autoscaling/"""

from dataclasses import dataclass

from perf.plan.size import Plan, Pool

GROWTH = 1.5  # most replicas ÷ planned ones
QUIET = 0.25  # fewest, as a share of the planned load
GPU_METRIC = "nv_gpu_utilization"  # Triton's own, 0 to 1, through a Prometheus adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaler:
    """One pool's: the mean utilisation in percent to hold, and the bounds of its replicas."""

    name: str
    metric: str
    percent: int
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
    return Autoscaler(
        name=f"trident-{pool.name}",
        metric="gpu" if pool.binds.startswith("GPU") else "cpu",
        percent=max(1, int(100 * _held(plan, pool))),
        least=least,
        most=max(least, round(GROWTH * pool.replicas)),
    )


def _held(plan: Plan, pool: Pool) -> float:
    """The pool's highest utilisation with the spare ones lost, spread over all of them; as its CPU or GPU shows it."""
    resource = "GPU" if pool.binds.startswith("GPU") else "CPU"
    of_resource = min(pool.limits.values()) / pool.limits[resource]
    highest = plan.highest_utilisation * (1 - plan.demand.swap_headroom)
    return highest * pool.needed / pool.replicas * of_resource


def _metric(one: Autoscaler) -> str:
    if one.metric == "cpu":
        return (
            "    - type: Resource\n"
            f"      resource: {{name: cpu, target: {{type: Utilization, averageUtilization: {one.percent}}}}}"
        )
    target = f"{{type: AverageValue, averageValue: {one.percent * 10}m}}"
    return f"    - type: Pods\n      pods: {{metric: {{name: {GPU_METRIC}}}, target: {target}}}"
