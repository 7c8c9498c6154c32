"""The whole path: how many full answers per second each server gives when saturated, in turns, and at what CPU."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import median

from deploy.settings import Settings
from perf.compare.plan import Plan
from perf.compare.servers import TRIDENT, Contestant, Turn, cache_embeddings, contestants, without_snapshots
from perf.compare.turns import ratios, take_turns
from perf.console import console
from perf.load import OpenLoop, drive
from perf.peers import MONOLITH, MONOLITH_LIGHTGBM, NAIVE
from perf.stack import serving
from perf.users import user_id

TRIAL_S = 3.0
PEERS = (NAIVE, MONOLITH, MONOLITH_LIGHTGBM)
Turns = Mapping[str, Sequence[Turn]]


def measure(settings: Settings, plan: Plan) -> dict[str, object]:
    """Serve the workspace's newest release by everybody and compare. Raises PerfError."""
    with serving(settings, users=plan.users + plan.strangers) as stack:
        users = cache_embeddings(settings, plan.users)
        with without_snapshots(settings), contestants(stack, users) as everybody:
            clients = {name: best_clients(one, plan.clients) for name, one in everybody.items()}
            console.print(f"  [dim]clients that saturate: {clients}[/dim]")
            turns = take_turns(
                {name: partial(one.turn, clients[name], plan.seconds) for name, one in everybody.items()}, plan.rounds
            )
            document = summary(turns)
            latency = {
                name: at_rate(one, plan.load * median(turn.rate for turn in turns[name]), plan.latency_seconds)
                for name, one in everybody.items() if name != NAIVE
            }  # fmt: skip
            strangers = [user_id(number) for number in range(plan.users, plan.users + plan.strangers)]
            missed = cache_miss(everybody[TRIDENT], strangers, clients[TRIDENT], plan.seconds)
    p99 = latency[TRIDENT]["latency_ms"]["p99"]
    return document | {"p99_ms": p99, "clients": clients, "open_loop": latency, "cache_miss": missed}


def best_clients(contestant: Contestant, numbers: Sequence[int]) -> int:
    """The number of clients that gets the most full answers out of a server; the trials also warm it."""
    rates = {number: contestant.turn(number, TRIAL_S).rate for number in numbers}
    return max(rates, key=lambda number: rates[number])


def summary(turns: Turns) -> dict[str, object]:
    """Rates and ratios (medians, their spread beside them), CPU by role, and every turn's rate."""
    rates = {name: [turn.rate for turn in those] for name, those in turns.items()}
    compared = {name: ratios(rates[TRIDENT], rates[name]) for name in PEERS}
    return {
        **{f"{_word(name)}_rps": round(median(samples), 1) for name, samples in rates.items()},
        **{f"ratio_{_word(name)}": round(ratio.median, 3) for name, ratio in compared.items()},
        "spread": {f"ratio_{_word(name)}": ratio.rounded() for name, ratio in compared.items()},
        "cpu_ms_per_request": {name: cpu(those) for name, those in turns.items()},
        "less_than_full": {name: round(max(turn.less_than_full for turn in those), 4) for name, those in turns.items()},
        "samples": {name: [round(rate, 2) for rate in samples] for name, samples in rates.items()},
    }


def cpu(turns: Sequence[Turn]) -> dict[str, float]:
    """Medians by role, their sum as `total`, and the load generator's own, which is not in it."""
    roles = {role: round(median(turn.cpu_ms[role] for turn in turns), 3) for role in turns[0].cpu_ms}
    total = round(median(sum(turn.cpu_ms.values()) for turn in turns), 3)
    return {**roles, "total": total, "generator": round(median(turn.generator_ms for turn in turns), 3)}


def at_rate(contestant: Contestant, rate: float, seconds: float) -> dict[str, dict[str, float]]:
    """An open loop at that rate: latency from the intended send time."""
    outcome = drive(contestant.target, OpenLoop(rate=rate, seconds=seconds))
    return outcome.as_dict()  # type: ignore[return-value]


def cache_miss(contestant: Contestant, users: Sequence[str], clients: int, seconds: float) -> dict[str, object]:
    """Saturation by users whose embedding is not cached: each first asks for the user tower."""
    turn = replace(contestant, target=replace(contestant.target, users=users)).turn(clients, seconds)
    return {"trident_rps": round(turn.rate, 1), "cpu_ms_per_request": cpu([turn])}


def _word(name: str) -> str:
    return name.replace("-", "_")
