"""Adapters: the user's own files become canonical tables, and bad files become one clear line."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.settings import Settings
from tests.ports import isolated_settings
from training.adapters.canonical import SCHEMAS
from training.adapters.ingest import ingest
from training.adapters.source import Windows, read_source
from training.errors import DataError

EVENTS = "user_id,item_id,event_type,timestamp,price\nu1,i1,view,2026-01-02T10:00:00,\nu1,i1,purchase,2026-01-03,9.5\n"
ITEMS = "item_id,category,created_at,tags,in_stock\ni1,books,1735689600,old|rare,true\n"
USERS = "user_id,age\nu1,31\n"

RATINGS = "user_id,item_id,rating,timestamp\n1,10,5,893286638\n1,11,2,893286000\n"
GENRES = ("unknown,Action,Adventure,Animation,Children's,Comedy,Crime,Documentary,Drama,Fantasy,Film-Noir,Horror,"
          "Musical,Mystery,Romance,Sci-Fi,Thriller,War,Western")  # fmt: skip
MOVIES = (
    f"movie_id,movie_title,release_date,{GENRES}\n"
    f"10,Late (1999),01-Jan-1999,0,1,0,0,0,1{',0' * 13}\n"
    f"11,Early (1990),01-Jan-1990,0,0,0,0,0,0{',0' * 13}\n"
)
PEOPLE = "user_id,age,gender\n1,24,M\n"

LOG = (
    "timestamp,eventType,contentId,personId,sessionId,userAgent,userRegion,userCountry\n"
    "1465413032,VIEW,-34,-88,12,,,\n"
    '1465412560,COMMENT CREATED,-34,-10,36,"Mozilla/5.0 (iPhone; like)",NY,US\n'
)


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return _settings(tmp_path, "files", {"events.csv": EVENTS, "items.csv": ITEMS, "users.csv": USERS})


@pytest.fixture
def movies(tmp_path: Path) -> Settings:
    files = {"ratings_original_order.csv.gz": RATINGS, "items.csv.gz": MOVIES, "users.csv.gz": PEOPLE}
    return _settings(tmp_path, "movielens", files)


@pytest.fixture
def news(tmp_path: Path) -> Settings:
    return _settings(tmp_path, "deskdrop", {"users_interactions.csv.gz": LOG})


def _settings(folder: Path, source: str, files: dict[str, str]) -> Settings:
    data = folder / "data"
    data.mkdir()
    for name, text in files.items():
        content = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
        (data / name).write_bytes(content)
    return isolated_settings(folder / "home", source=source, data=data)


def _read(settings: Settings, name: str) -> list[dict[str, object]]:
    table = pq.read_table(settings.raw / name)
    assert table.schema == SCHEMAS[name]
    return table.to_pylist()


def test_files_are_parsed_into_the_canonical_types(own: Settings) -> None:
    assert ingest(own) == {"events": 2, "impressions": 0, "items": 1, "users": 1}
    view, purchase = _read(own, "events")
    assert view["price"] is None
    assert purchase["price"] == 9.5
    item = _read(own, "items")[0]
    assert item["tags"] == ["old", "rare"]
    assert item["in_stock"] is True
    assert item["regions"] is None
    assert str(item["created_at"]) == "2025-01-01 00:00:00+00:00"
    source = read_source(own.raw)
    assert not source.has_impressions
    assert str(source.as_of) == "2026-01-03 00:00:00+00:00"


def test_files_may_declare_windows_and_hold_parquet_parts(own: Settings) -> None:
    assert own.data is not None
    (own.data / "users.csv").unlink()
    (own.data / "users").mkdir()
    for n in range(2):
        pq.write_table(pa.table({"user_id": [n], "extra": [0]}), own.data / "users" / f"{n}.parquet")
    (own.data / "source.json").write_text('{"windows": {"train": 30, "validation": 3, "test": 4}}')
    assert ingest(own)["users"] == 2
    assert [row["user_id"] for row in _read(own, "users")] == ["0", "1"]
    assert read_source(own.raw).windows == Windows(train=30, validation=3, test=4)


def test_movielens_maps_ratings_genres_and_creation(movies: Settings) -> None:
    ingest(movies)
    assert [row["event_type"] for row in _read(movies, "events")] == ["purchase", "view"]
    late, early = _read(movies, "items")
    assert (late["category"], late["tags"]) == ("Action", ["Action", "Comedy"])
    assert str(late["created_at"]).startswith("1998-04-22")
    assert (early["category"], early["tags"]) == (None, [])
    assert str(early["created_at"]).startswith("1990-01-01")
    assert _read(movies, "users")[0]["gender"] == "male"


def test_deskdrop_creates_items_at_their_first_event(news: Settings) -> None:
    ingest(news)
    events = _read(news, "events")
    assert [(row["event_type"], row["device"], row["country"]) for row in events] == [
        ("view", None, None), ("purchase", "mobile", "US"),
    ]  # fmt: skip
    assert _read(news, "items")[0]["created_at"] == events[1]["timestamp"]
    assert [row["user_id"] for row in _read(news, "users")] == ["-10", "-88"]


def _edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        (data / name).write_text((data / name).read_text().replace(old, new))

    return change


BAD: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "missing file": (lambda data: (data / "items.csv").unlink(), ("items", "missing", "events.csv")),
    "missing column": (_edit("events.csv", "item_id", "thing"), ("events.csv", "item_id", "2 rows", "thing")),
    "wrong type": (_edit("events.csv", "9.5", "cheap"), ("events.csv", "price", "1 of 2 rows", "cheap")),
    "wrong time": (_edit("events.csv", "2026-01-03", "soon"), ("events.csv", "timestamp", "1 of 2 rows", "soon")),
    "malformed row": (_edit("events.csv", ",9.5", ",9.5,7,8"), ("events.csv", "1 of 2 rows", "malformed")),
    "not text": (lambda data: (data / "users.csv").write_bytes(b"\xff\xfe\x00"), ("users.csv",)),
    "empty": (lambda data: (data / "users.csv").write_bytes(b""), ("users.csv", "cannot be read")),
    "unknown key": (lambda data: _write(data / "source.json", '{"window": 3}'), ("source.json", "window", "windows")),
    "bad windows": (
        lambda data: _write(data / "source.json", '{"windows": {"train": 7, "validation": 7, "test": 7}}'),
        ("source.json", "7/7/7"),
    ),
}


def _write(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.mark.parametrize("problem", BAD)
def test_bad_input_is_one_line_and_leaves_nothing_behind(own: Settings, problem: str) -> None:
    assert own.data is not None
    spoil, expected = BAD[problem]
    spoil(own.data)
    with pytest.raises(DataError) as raised:
        ingest(own)
    message = str(raised.value)
    assert all(part in message for part in expected), message
    assert "\n" not in message
    assert not own.workspace.exists() or not list(own.workspace.iterdir())


def test_bad_input_keeps_what_an_earlier_run_wrote(own: Settings) -> None:
    ingest(own)
    before = _read(own, "events")
    assert own.data is not None
    _edit("events.csv", "9.5", "cheap")(own.data)
    with pytest.raises(DataError):
        ingest(own)
    assert _read(own, "events") == before


def test_truncated_archive_is_one_line(news: Settings) -> None:
    assert news.data is not None
    path = news.data / "users_interactions.csv.gz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"users_interactions.csv.gz: cannot be read as CSV"):
        ingest(news)


def test_unknown_event_type_is_named_and_counted(news: Settings) -> None:
    assert news.data is not None
    (news.data / "users_interactions.csv.gz").write_bytes(gzip.compress(LOG.replace("VIEW", "PEEK").encode()))
    with pytest.raises(DataError, match=r"eventType: 1 of 2 rows .* 'PEEK'"):
        ingest(news)


def test_rating_out_of_range_is_counted(movies: Settings) -> None:
    assert movies.data is not None
    path = movies.data / "ratings_original_order.csv.gz"
    path.write_bytes(gzip.compress(RATINGS.replace(",5,", ",6,").encode()))
    with pytest.raises(DataError, match=r"rating: 1 of 2 rows are not 1 to 5"):
        ingest(movies)


@pytest.mark.parametrize("data", [None, Path("nowhere")])
def test_no_folder_says_which_setting(tmp_path: Path, data: Path | None) -> None:
    settings = isolated_settings(tmp_path, source="movielens", data=data)
    with pytest.raises(DataError, match="TRIDENT_DATA"):
        ingest(settings)


def test_unknown_source_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sample, movielens, deskdrop, files"):
        ingest(isolated_settings(tmp_path, source="mystery"))
