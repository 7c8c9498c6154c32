"""The table of drills in docs/reliability.md: a row for each, with the figures that tell most."""

from perf.documents import Row, Table

RESULT = "drills-2-cores.json"
LOADED = "{requests:,} requests, p99 {p99_ms:.0f} ms"
SHOWN = {
    "triton-killed": LOADED + "; a lower rung after {opens_s:.2f} s, models back after {triton_back_s:.0f} s, "
    "whole {closes_s:.2f} s after that",
    "triton-hung": LOADED + "; breakers open after {opens_s:.2f} s, whole {closes_s:.2f} s after",
    "triton-restarted": LOADED + "; whole {closes_s:.2f} s after the models are back",
    "candidates-killed": LOADED + "; whole after {closes_s:.1f} s",
    "candidates-hung": LOADED + "; breakers open after {opens_s:.2f} s, whole after {closes_s:.1f} s",
    "ranker-hung": LOADED + "; whole after {closes_s:.1f} s",
    "ranker-slow": LOADED + "; whole {closes_s:.2f} s after",
    "candidates-down": "{L3_answers} answers from L3, {L4_answers} from L4; whole {closes_s:.2f} s after",
    "redis-refuses": LOADED + "; whole {back_s:.2f} s after",
    "redis-flaps": LOADED + "; whole {back_s:.2f} s after",
    "redis-black-holed": LOADED
    + "; {threads_more} threads, {memory_more_mib:.1f} MiB more; whole {back_s:.2f} s after",
    "redis-slow": LOADED + "; {threads_more} threads, {memory_more_mib:.1f} MiB more; whole {back_s:.2f} s after",
    "redis-flushed": "{answers[0]}",
    "stale-features": "logged as {age_s_in_log:,.0f} s old",
    "features-not-finite": "each feature counted {counted_of_each_feature:.0f} ×",
    "rows-of-another-length": "{counted:.0f} rows counted",
    "unknown-user": "arm {variant}",
    "rolled-back": LOADED + "; {rollbacks} rollbacks, the slowest took {takes_s:.2f} s",
    "item-withdrawn": "{items} items, on no rung after {gone_s:.2f} s",
    "all-seen": "coverage {coverage[0]}, {coverage[1]}, {coverage[2]}, {coverage[3]}",
    "clock-jump": "{counted:.0f} counted",
    "poisoned-cache": "{counted:.0f} counted",
    "overload": "capacity {capacity:.0f}/s, offered {offered:.0f}/s: goodput {goodput:.0f}/s (at least {floor:.0f}); "
    "{refused:,} refused; whole {recovers_s:.1f} s after",
    "recovery-herd": LOADED + "; {recommend_calls_per_request:.2f} ensemble calls a request",
    "clients-hang-up": "{hung_up:.0f} hung up, nothing in flight {free_after_ms:.0f} ms later",
    "poison-bodies": "no 5xx, nothing echoed",
    "slow-bodies": "given up after {given_up_after_s:.1f} s",
    "wild-numbers": "slowest refusal {slowest_ms:.0f} ms, {memory_more_mib:.1f} MiB more",
    "injected-headers": "no 5xx, one line each",
    "log-disk-full": LOADED + "; {dropped:.0f} lines dropped and counted ({disk})",
    "log-spilled": "{logged:.0f} of 50 logged",
    "log-torn": "{torn:.0f} torn entry counted",
    "api-killed": "{logged:.0f} of 100 logged; up again after {start_s:.0f} s",
    "api-terminated": "{answered} answered, {logged} logged, ended after {exit_s:.1f} s",
    "api-drained": LOADED + "; not ready after {not_ready_after_s:.2f} s, ended after {exit_s:.1f} s",
}


def _row(name: str) -> Row:
    one = f"drills[name={name}]"
    shown = SHOWN[name].replace("{", f"{{{one}.figures.")
    return Row(source=RESULT, cells=(f"{{{one}.fault}}", f"`{name}`", f"{{{one}.detail}}", shown))


TABLE = Table(header=("fault", "drill", "what is done, and what must hold", "measured"), rows=tuple(map(_row, SHOWN)))
