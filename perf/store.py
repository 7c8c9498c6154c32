"""What the online store takes: bytes per user and rows per second, packed rows at a million users beside Feast's own.

Rows are the workspace's real ones under made-up ids; they are removed again.
"""

import time
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import pyarrow.dataset as ds

from deploy.settings import Settings
from feature_repo.materialize import BATCH, connect, materialize, pack_batch
from feature_repo.rows import user_key
from feature_repo.store import as_of, names
from perf.errors import PerfError

PREFIX = "bench-"


def measure(settings: Settings, users: int) -> list[dict[str, object]]:
    """One row for packed rows, one for Feast's. Raises PerfError when Redis has no room for so many users."""
    packed = _packed_rows(settings)
    if not packed:
        raise PerfError(f"{settings.workspace.name} has no user snapshots; run `make serve` first")
    with connect(settings) as client:
        _require_room(client, users, packed)
        try:
            return [_packed(client, packed, users), _feast(settings, client)]
        finally:
            _remove(client, users)


def _packed(client: Any, rows: list[bytes], users: int) -> dict[str, object]:
    before, started = _used(client), time.monotonic()
    for batch in _batches(rows, users):
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


def _packed_rows(settings: Settings) -> list[bytes]:
    """The workspace's final user rows."""
    moment = as_of(settings)
    columns = ["user_id", *names("user"), "user_history"]
    table = ds.dataset(settings.features / "user_snapshots", format="parquet")
    chosen = table.to_batches(columns=columns, filter=ds.field("event_timestamp") == moment, batch_size=BATCH)
    return [row for batch in chosen for row in pack_batch(batch, int(moment.timestamp())).values()]


def _batches(rows: list[bytes], users: int) -> Iterator[dict[str, bytes]]:
    source = zip(_keys(users), cycle(rows), strict=False)
    while batch := dict(islice(source, BATCH)):
        yield batch


def _keys(users: int) -> Iterator[str]:
    return (user_key(f"{PREFIX}{n:09d}") for n in range(users))


def _require_room(client: Any, users: int, rows: list[bytes]) -> None:
    limit, needed = int(client.config_get("maxmemory")["maxmemory"]), users * 1.5 * len(rows[0])
    if limit and _used(client) + needed > limit:
        raise PerfError(f"Redis may use {limit / 2**20:.0f} MiB, {users} users need {needed / 2**20:.0f} MiB more; "
                        "set TRIDENT_REDIS_MEMORY")  # fmt: skip


def _used(client: Any) -> int:
    return int(client.info("memory")["used_memory"])


def _remove(client: Any, users: int) -> None:
    keys = _keys(users)
    while batch := list(islice(keys, BATCH)):
        client.unlink(*batch)
