"""What is shown of items is written where it changed, and nowhere else: real Redis."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from redis import Redis

from feature_repo.displays import BATCH, write_displays
from feature_repo.rows import display_key
from tests.redis_server import redis_server

ITEMS = 2 * BATCH + 3


@pytest.fixture
def client() -> Iterator[Redis]:
    with redis_server() as port, Redis(port=port) as found:
        yield found


def write(folder: Path, titles: list[str]) -> Path:
    texts = ("item_id", "title", "category", "brand", "image_url", "tags")
    schema = pa.schema([*((name, pa.string()) for name in texts), ("price", pa.float64())])
    rows = [{"item_id": f"i{n}", "title": title, "price": 2.5} for n, title in enumerate(titles)]
    table = pa.Table.from_pylist(rows, schema)
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / "part-0.parquet")
    return folder


def written(client: Redis, folder: Path, full: bool = False) -> int:
    """Writing commands of one run."""
    return commands(client, folder, full)["mset"]


def commands(client: Redis, folder: Path, full: bool = False) -> dict[str, int]:
    """Commands of one run that read or write rows."""
    client.config_resetstat()
    assert write_displays(client, folder, full) == ITEMS
    stats = client.info("commandstats")
    return {name: int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in ("mget", "mset")}


def test_a_second_run_writes_nothing_and_a_changed_item_alone(client: Redis, tmp_path: Path) -> None:
    titles = [f"Title {n}" for n in range(ITEMS)]
    folder = write(tmp_path / "items", titles)
    assert written(client, folder) == 3
    assert client.dbsize() == ITEMS + 1
    assert orjson.loads(client.get(display_key("i7")) or b"") == {"item_id": "i7", "title": "Title 7", "price": 2.5}
    assert written(client, folder) == 0
    client.config_set("notify-keyspace-events", "K$")
    with client.pubsub() as listener:
        listener.psubscribe("__keyspace@0__:*")
        titles[BATCH] = "Another"
        assert written(client, write(folder, titles)) == 1
        heard = [message["channel"] for message in iter(lambda: listener.get_message(timeout=0.5), None)]
    assert heard[1:] == [f"__keyspace@0__:{display_key(f'i{BATCH}')}".encode()]


def test_a_table_that_did_not_change_is_not_looked_at_again(client: Redis, tmp_path: Path) -> None:
    folder = write(tmp_path / "items", ["same"] * ITEMS)
    assert commands(client, folder) == {"mget": 3, "mset": 3}
    assert commands(client, folder) == {"mget": 0, "mset": 0}
    assert commands(client, write(folder, ["same"] * ITEMS)) == {"mget": 3, "mset": 0}


def test_a_lost_row_comes_back_on_a_full_run(client: Redis, tmp_path: Path) -> None:
    folder = write(tmp_path / "items", ["same"] * ITEMS)
    write_displays(client, folder)
    client.delete(display_key("i2"))
    assert written(client, folder, full=True) == 1
    assert client.exists(display_key("i2"))


def test_an_emptied_redis_is_filled_again(client: Redis, tmp_path: Path) -> None:
    folder = write(tmp_path / "items", ["same"] * ITEMS)
    write_displays(client, folder)
    client.flushall()
    assert written(client, folder) == 3


def test_two_writers_at_once_are_both_not_believed(client: Redis, tmp_path: Path) -> None:
    """The second begins and ends while the first is at work."""
    first, second = (write(tmp_path / name, [name] * ITEMS) for name in ("first", "second"))
    begun = Interrupted(client, lambda: write_displays(client, second))
    write_displays(begun, first)
    assert begun.done
    for folder in (first, second):
        assert commands(client, folder)["mget"] == 3


class Interrupted:
    """A Redis client that lets somebody else act before its first look at rows."""

    def __init__(self, client: Redis, other: Callable[[], object]) -> None:
        self._client, self._other, self.done = client, other, False

    def __getattr__(self, name: str) -> Any:
        if name == "mget" and not self.done:
            self.done = True
            self._other()
        return getattr(self._client, name)


def test_a_run_that_was_cut_off_is_not_believed(client: Redis, tmp_path: Path) -> None:
    """Of another table, half written: the first one's rows are put back."""
    first = write(tmp_path / "first", ["first"] * ITEMS)
    write_displays(client, first)
    second = write(tmp_path / "second", ["second"] * ITEMS)
    (second / "part-1.parquet").write_bytes(b"torn")
    with pytest.raises(pa.ArrowInvalid):
        write_displays(client, second)
    write_displays(client, first)
    assert orjson.loads(client.get(display_key("i2")) or b"")["title"] == "first"
