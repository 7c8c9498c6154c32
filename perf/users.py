"""Made-up users with real rows: the workspace's own packed rows, again and again, under ids of their own."""

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import pyarrow.dataset as ds

from deploy.settings import Settings
from feature_repo.displays import BATCH
from feature_repo.materialize import materialize, pack_batch
from feature_repo.rows import marker_key, user_key
from feature_repo.store import as_of, connect, names
from perf.errors import PerfError


def user_id(number: int) -> str:
    """The id of made-up user `number`, from 0."""
    return f"bench-{number:09d}"


def write_users(settings: Settings, count: int) -> None:
    """The workspace's users as its materialisation writes them, and `count` made-up ones; what is there stays.

    Raises PerfError when the workspace has no user snapshots.
    """
    with connect(settings) as client:
        if not client.exists(marker_key()):
            materialize(settings, displays=False)
        if count and not client.exists(user_key(user_id(count - 1))):
            for batch in batches(packed_rows(settings), count):
                client.mset(batch)


def packed_rows(settings: Settings) -> list[bytes]:
    """The packed rows of the workspace's users at its as_of."""
    moment = as_of(settings)
    columns = ["user_id", *names("user"), "user_history"]
    table = ds.dataset(settings.features / "user_snapshots", format="parquet")
    chosen = table.to_batches(columns=columns, filter=ds.field("event_timestamp") == moment, batch_size=BATCH)
    rows = [row for batch in chosen for row in pack_batch(batch, int(moment.timestamp())).values()]
    if not rows:
        raise PerfError(f"{settings.workspace.name} has no user snapshots; run `make serve` first")
    return rows


def batches(rows: list[bytes], count: int) -> Iterator[dict[str, bytes]]:
    """`count` users' rows by Redis key, a round trip's worth at a time."""
    source = zip(_keys(count), cycle(rows), strict=False)
    while batch := dict(islice(source, BATCH)):
        yield batch


def remove(client: Any, count: int) -> None:
    """Remove `count` made-up users."""
    keys = _keys(count)
    while batch := list(islice(keys, BATCH)):
        client.unlink(*batch)


def _keys(count: int) -> Iterator[str]:
    return (user_key(user_id(number)) for number in range(count))
