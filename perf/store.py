"""What the online store takes: bytes per user and rows per second, packed rows at a million users beside Feast's own.

Rows are the workspace's real ones under made-up ids; they are removed again.
"""

import time
from itertools import islice
from typing import Any

from deploy.settings import Settings
from feature_repo.materialize import materialize
from feature_repo.store import connect
from perf.errors import PerfError
from perf.users import batches, packed_rows, remove


def measure(settings: Settings, users: int) -> list[dict[str, object]]:
    """One row for packed rows, one for Feast's. Raises PerfError when Redis has no room for so many users."""
    packed = packed_rows(settings)
    with connect(settings) as client:
        _require_room(client, users, packed)
        try:
            return [_packed(client, packed, users), _feast(settings, client)]
        finally:
            remove(client, users)


def _packed(client: Any, rows: list[bytes], users: int) -> dict[str, object]:
    before, started = _used(client), time.monotonic()
    for batch in batches(rows, users):
        client.mset(batch)
    seconds = time.monotonic() - started
    return {
        "store": "packed rows",
        "users": users,
        "bytes_per_user": round((_used(client) - before) / users),
        "row_bytes": round(sum(map(len, rows)) / len(rows)),
        "users_per_second": round(users / seconds),
    }


def _feast(settings: Settings, client: Any) -> dict[str, object]:
    """Feast's rows of the workspace's users, all written again."""
    started = time.monotonic()
    users = int(materialize(settings, full=True)["users"])
    seconds = time.monotonic() - started
    hashes = list(islice(client.scan_iter(count=10_000, _type="hash"), 2000))
    sizes = [client.memory_usage(key) for key in hashes]
    return {
        "store": "Feast rows",
        "users": users,
        "bytes_per_user": round(sum(sizes) / max(len(sizes), 1)),
        "row_bytes": None,
        "users_per_second": round(users / seconds),
    }


def _require_room(client: Any, users: int, rows: list[bytes]) -> None:
    limit, needed = int(client.config_get("maxmemory")["maxmemory"]), users * 1.5 * len(rows[0])
    if limit and _used(client) + needed > limit:
        raise PerfError(f"Redis may use {limit / 2**20:.0f} MiB, {users} users need {needed / 2**20:.0f} MiB more; "
                        "set TRIDENT_REDIS_MEMORY")  # fmt: skip


def _used(client: Any) -> int:
    return int(client.info("memory")["used_memory"])
