"""Adapters of published data sets: their files become canonical tables, and bad files become one clear line."""

import gzip
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from deploy.settings import ROOT, Settings
from tests.ports import isolated_settings
from training.adapters.canonical import SCHEMAS
from training.adapters.ingest import ADAPTERS, ingest
from training.adapters.source import read_source
from training.errors import DataError
from training.pipeline.split import boundaries

SETS = ROOT.parent / "shared" / "data"
FOLDERS = {"movielens": "ml_100k", "deskdrop": "deskdrop", "tafeng": "ta_feng", "beauty": "s3rec_beauty",
           "lastfm": "lastfm_ctr_kgcn"}  # fmt: skip

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


RECEIPTS = {
    "TRANSACTION_DT": ["11/30/2000", "11/2/2000", "11/30/2000"],
    "CUSTOMER_ID": ["007", "007", "008"],
    "AGE_GROUP": [">65", ">65", None],
    "PIN_CODE": ["115"] * 3,
    "PRODUCT_SUBCLASS": ["100", "100", "200"],
    "PRODUCT_ID": ["a", "a", "b"],
    "AMOUNT": [2, 4, 1],
    "ASSET": [1, 1, 1],
    "SALES_PRICE": [30, 40, 7],
}
SEQUENCES = "1 10 11 12\n2 11\n"
ATTRIBUTES = '{"10": [1, 2], "11": [3, 2], "12": []}'
PLAYS = "userID\tartistID\tweight\n2\t51\t900\n2\t52\t5\n3\t51\t1\n"
GRAPH = "0\tmusic.artist.origin\t3847\n1\tfilm.actor.film\t3848\n"


@pytest.fixture
def movies(tmp_path: Path) -> Settings:
    files = {"ratings_original_order.csv.gz": RATINGS, "items.csv.gz": MOVIES, "users.csv.gz": PEOPLE}
    return _settings(tmp_path, "movielens", files)


@pytest.fixture
def news(tmp_path: Path) -> Settings:
    return _settings(tmp_path, "deskdrop", {"users_interactions.csv.gz": LOG})


@pytest.fixture
def receipts(tmp_path: Path) -> Settings:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(RECEIPTS), tmp_path / "data" / "ta_feng.parquet")
    return isolated_settings(tmp_path / "home", source="tafeng", data=tmp_path / "data")


@pytest.fixture
def reviews(tmp_path: Path) -> Settings:
    return _settings(tmp_path, "beauty", {"Beauty.txt.gz": SEQUENCES, "Beauty_item2attributes.json.gz": ATTRIBUTES})


@pytest.fixture
def plays(tmp_path: Path) -> Settings:
    files = {"user_artists.dat.gz": PLAYS, "kg.txt.gz": GRAPH, "item_index2entity_id.txt.gz": "51\t0\n53\t1\n"}
    return _settings(tmp_path, "lastfm", files)


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


def test_tafeng_places_a_day_at_noon_and_prices_one_piece(receipts: Settings) -> None:
    ingest(receipts)
    events = _read(receipts, "events")
    assert [(str(row["timestamp"])[:16], row["price"], row["quantity"], row["session_id"]) for row in events] == [
        ("2000-11-30 12:00", 15.0, 2, "007-20001130"),
        ("2000-11-02 12:00", 10.0, 4, "007-20001102"),
        ("2000-11-30 12:00", 7.0, 1, "008-20001130"),
    ]
    assert [(row["item_id"], row["category"], row["price"]) for row in _read(receipts, "items")] == [
        ("a", "100", 10.0), ("b", "200", 7.0),
    ]  # fmt: skip
    assert _read(receipts, "items")[0]["created_at"] == events[1]["timestamp"]
    assert [(row["user_id"], row["age"]) for row in _read(receipts, "users")] == [("007", 68), ("008", None)]


def test_beauty_keeps_the_order_and_ends_every_user_on_one_day(reviews: Settings) -> None:
    ingest(reviews)
    events = _read(reviews, "events")
    assert [(row["user_id"], row["item_id"], row["timestamp"].day) for row in events] == [
        ("1", "10", 21), ("1", "11", 22), ("1", "12", 23), ("2", "11", 23),
    ]  # fmt: skip
    items = _read(reviews, "items")
    assert [(row["category"], row["tags"]) for row in items] == [("2", ["1", "2"]), ("2", ["3", "2"]), (None, [])]


def test_beauty_windows_are_leave_one_out(reviews: Settings) -> None:
    ingest(reviews)
    at = boundaries(read_source(reviews.raw))
    moments = [row["timestamp"] for row in _read(reviews, "events") if row["user_id"] == "1"]
    assert [moment >= at.test_start for moment in moments] == [False, False, True]
    assert [moment >= at.validation_start for moment in moments] == [False, True, True]


def test_lastfm_places_plays_by_a_fixed_hash(plays: Settings) -> None:
    ingest(plays)
    events = _read(plays, "events")
    assert [row["event_type"] for row in events] == ["favorite", "click", "favorite"]
    assert [row["quantity"] for row in events] == [900, 5, 1]
    assert [str(row["timestamp"])[:19] for row in events] == [
        "2011-04-24 01:43:22", "2011-04-08 11:26:13", "2011-02-24 18:24:00",
    ]  # fmt: skip
    assert [(row["item_id"], row["tags"]) for row in _read(plays, "items")] == [
        ("51", ["music.artist.origin:3847"]), ("52", None),
    ]  # fmt: skip


def test_truncated_archive_is_one_line(news: Settings) -> None:
    assert news.data_folder is not None
    path = news.data_folder / "users_interactions.csv.gz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"users_interactions.csv.gz: cannot be read as CSV"):
        ingest(news)


def test_unknown_event_type_is_named_and_counted(news: Settings) -> None:
    assert news.data_folder is not None
    (news.data_folder / "users_interactions.csv.gz").write_bytes(gzip.compress(LOG.replace("VIEW", "PEEK").encode()))
    with pytest.raises(DataError, match=r"eventType: 1 of 2 rows .* 'PEEK'"):
        ingest(news)


def test_rating_out_of_range_is_counted(movies: Settings) -> None:
    assert movies.data_folder is not None
    path = movies.data_folder / "ratings_original_order.csv.gz"
    path.write_bytes(gzip.compress(RATINGS.replace(",5,", ",6,").encode()))
    with pytest.raises(DataError, match=r"rating: 1 of 2 rows are not 1 to 5"):
        ingest(movies)


@pytest.mark.parametrize("data", [None, Path("nowhere")])
def test_no_folder_says_which_setting(tmp_path: Path, data: Path | None) -> None:
    settings = isolated_settings(tmp_path, source="movielens", data=data)
    with pytest.raises(DataError, match="TRIDENT_DATA"):
        ingest(settings)


def test_unknown_source_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sample, movielens, deskdrop, tafeng, beauty, lastfm, files"):
        ingest(isolated_settings(tmp_path, source="mystery"))


def test_a_url_is_for_source_files_alone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="s3a://bucket/x: source movielens reads a folder"):
        ingest(isolated_settings(tmp_path, source="movielens", data="s3a://bucket/x"))


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("TRANSACTION_DT", ["30/11/2000", "11/2/2000", None], "TRANSACTION_DT: 2 of 3 rows .* '30/11/2000'"),
        ("AMOUNT", ["1", "two", "3"], "AMOUNT: 1 of 3 rows .* 'two'"),
    ],
)
def test_a_bad_receipt_is_counted(receipts: Settings, column: str, values: list[str | None], says: str) -> None:
    assert receipts.data_folder is not None
    pq.write_table(pa.table(RECEIPTS | {column: values}), receipts.data_folder / "ta_feng.parquet")
    with pytest.raises(DataError, match=says):
        ingest(receipts)


def test_bad_sequences_and_attributes_are_one_line(reviews: Settings) -> None:
    assert reviews.data_folder is not None
    for name, content in (("Beauty.txt.gz", b"1\n2 3\n"), ("Beauty_item2attributes.json.gz", b"[1]")):
        path = reviews.data_folder / name
        before = path.read_bytes()
        path.write_bytes(gzip.compress(content))
        with pytest.raises(DataError, match=name):
            ingest(reviews)
        path.write_bytes(before[:10])
        with pytest.raises(DataError, match=f"{name}: cannot be read"):
            ingest(reviews)
        path.write_bytes(before)


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_window_of_the_real_set_holds_events(name: str, tmp_path: Path) -> None:
    if not (SETS / FOLDERS[name]).is_dir():
        pytest.skip(f"{SETS / FOLDERS[name]} is not here")
    settings = isolated_settings(tmp_path, source=name, data=SETS / FOLDERS[name])
    rows = ingest(settings)
    source = read_source(settings.raw)
    at = boundaries(source)
    moments = pq.read_table(settings.raw / "events", columns=["timestamp"])["timestamp"]
    after = [pc.sum(pc.greater_equal(moments, start)).as_py() for start in (at.validation_start, at.test_start)]
    assert rows["events"] > after[0] > after[1] > rows["events"] / 100
    assert pc.max(moments).as_py() <= at.as_of
    assert orjson.loads((settings.raw / "source.json").read_bytes())["notes"]
