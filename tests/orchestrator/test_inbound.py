"""Input: everything wrong is a 4xx in one shape, nothing of it is repeated, nothing is a 500."""

import orjson
import pytest

from orchestrator import inbound
from orchestrator.errors import InvalidError
from orchestrator.schemas import MOST_EXCLUDED, RecommendRequest
from tests.orchestrator.conftest import Running

pytestmark = pytest.mark.anyio
POISON = "<script>POISON"
JSON = {"content-type": "application/json"}

BAD_QUERIES = [
    ("", 422),
    ("num_items=5", 422),
    ("user_id=", 422),
    ("user_id=" + "a" * 257, 422),
    ("user_id=a%00b", 422),
    ("user_id=a%0d%0ab", 422),
    ("user_id=%E2%80%A8", 422),
    ("user_id=%ff%fe", 400),
    ("user_id=a&num_items=0", 422),
    ("user_id=a&num_items=-1", 422),
    ("user_id=a&num_items=201", 422),
    ("user_id=a&num_items=1e3", 422),
    ("user_id=a&num_items=1.0", 422),
    ("user_id=a&num_items=true", 422),
    ("user_id=a&num_items=" + "9" * 5000, 422),
    ("user_id=a&num_items=NaN", 422),
    ("user_id=a&num_items=%201", 422),
    ("user_id=a&num_items=", 422),
    ("user_id=a&user_id=b", 422),
    (f"user_id=a&{POISON}=1", 422),
    ("user_id=a&timings=maybe", 422),
    (f"user_id=a&device={POISON}", 422),
    ("user_id=a&country=NOR", 422),
    ("user_id=a&country=%C3%98%C3%98", 422),
    (f"user_id=a&os={POISON}", 422),
    ("user_id=a&os=iOS", 422),
    (f"user_id=a&referrer={POISON}", 422),
    ("user_id=a&language=", 422),
    ("user_id=a&language=german", 422),
    (f"user_id=a&language=de-{POISON}", 422),
    ("user_id=a&language=de-" + "a" * 9, 422),
    ("user_id=a&language=de%0a", 422),
    (f"user_id=a&time_zone={POISON}", 422),
    ("user_id=a&time_zone=", 422),
    ("user_id=a&time_zone=Europe/Atlantis", 422),
    ("user_id=a&time_zone=europe/berlin", 422),
    ("user_id=a&time_zone=../../etc/passwd", 422),
    ("user_id=a&time_zone=localtime", 422),
    ("user_id=a&time_zone=" + "a/" * 5000, 422),
    ("user_id=a&session_depth=-1", 422),
    ("user_id=a&session_depth=256", 422),
    ("user_id=a&session_depth=1.5", 422),
    ("user_id=a&session_depth=", 422),
    ("user_id=a&session_depth=1&session_depth=2", 422),
    ("user_id=a" + "&exclude=x" * 501, 422),
    ("user_id=a" + "&exclude=x" * 5000, 413),
    ("a=1&" * 700, 400),
    ("user_id=" + "a" * 20_000, 413),
    ("user_id=a&exclude=", 422),
]


@pytest.mark.parametrize(("query", "status"), BAD_QUERIES, ids=[q[:30] for q, _ in BAD_QUERIES])
async def test_bad_queries(running: Running, query: str, status: int):
    answer = await running.http.get(f"/recommend?{query}")
    assert answer.status_code == status, answer.text
    assert set(answer.json()["error"]) == {"code", "message", "request_id", "fields"}
    assert POISON not in answer.text
    assert running.world.triton.calls == []


BAD_BODIES = [
    (b"", 400),
    (b"{", 400),
    (b"nonsense", 400),
    (b'{"user_id": NaN}', 400),
    (b'{"user_id":"a","num_items":Infinity}', 400),
    (b'{"user_id":"\xff"}', 400),
    (b"[" * 50_000, 400),
    (b'{"user_id":' + b"[" * 2000 + b"]" * 2000 + b"}", 400),
    (b'{"user_id":"\\ud800"}', 400),
    (b"[]", 422),
    (b"null", 422),
    (b"1", 422),
    (b"{}", 422),
    (b'{"user_id":1}', 422),
    (b'{"user_id":null}', 422),
    (b'{"user_id":"a","num_items":"10"}', 422),
    (b'{"user_id":"a","num_items":true}', 422),
    (b'{"user_id":"a","num_items":10.0}', 422),
    (b'{"user_id":"a","num_items":1e999}', 422),
    (b'{"user_id":"a","num_items":' + b"9" * 5000 + b"}", 422),
    (b'{"user_id":"a","num_items":0}', 422),
    (b'{"user_id":"a","timings":1}', 422),
    (b'{"user_id":"a","exclude":"x"}', 422),
    (b'{"user_id":"a","exclude":[1]}', 422),
    (b'{"user_id":"a","exclude":["a\\u0000"]}', 422),
    (b'{"user_id":"a","<script>POISON":1}', 422),
    (b'{"user_id":"a","device":"<script>POISON"}', 422),
    (b'{"user_id":"a","os":1}', 422),
    (b'{"user_id":"a","language":["de"]}', 422),
    (b'{"user_id":"a","time_zone":"<script>POISON"}', 422),
    (b'{"user_id":"a","time_zone":"Europe/Berlin\\u0000"}', 422),
    (b'{"user_id":"a","session_depth":"3"}', 422),
    (b'{"user_id":"a","session_depth":3.0}', 422),
    (b'{"user_id":"a\\nb"}', 422),
    (b'{"user_id":"' + b"a" * 70_000 + b'"}', 413),
    (orjson.dumps({"user_id": "a", "exclude": ["x"] * (MOST_EXCLUDED + 1)}), 422),
]


@pytest.mark.parametrize(("body", "status"), BAD_BODIES, ids=[repr(b[:30]) for b, _ in BAD_BODIES])
async def test_bad_bodies(running: Running, body: bytes, status: int):
    answer = await running.http.post("/v1/recommend", content=body, headers=JSON)
    # 1e999 and integers of 5000 digits are refused by the JSON parser or by validation: either is fine
    assert answer.status_code in ({400, 422} if b"999" in body else {status}), answer.text
    assert set(answer.json()["error"]) == {"code", "message", "request_id", "fields"}
    assert POISON not in answer.text
    assert running.world.triton.calls == []


async def test_a_body_of_unknown_length_is_cut_at_the_cap(running: Running):
    async def endless():
        for _ in range(100):
            yield b'{"user_id":"' + b"a" * 10_000

    answer = await running.http.post("/v1/recommend", content=endless(), headers=JSON)
    assert answer.status_code == 413


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/json; charset=latin-1", "application/jsonx"])
async def test_content_types(running: Running, content_type: str | None):
    headers = {} if content_type is None else {"content-type": content_type}
    answer = await running.http.post("/v1/recommend", content=b'{"user_id":"a"}', headers=headers)
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "unsupported_media_type"


async def test_a_charset_of_utf8_is_fine(running: Running):
    answer = await running.http.post(
        "/v1/recommend",
        content='{"user_id":"žöß"}'.encode(),
        headers={"content-type": 'application/json; charset="UTF-8"'},
    )
    assert answer.status_code == 200
    assert answer.json()["user_id"] == "žöß"


async def test_fields_are_named(running: Running):
    answer = await running.http.post("/v1/recommend", json={"num_items": 0, "exclude": ["a", 1]})
    assert [field["field"] for field in answer.json()["error"]["fields"]] == ["user_id", "num_items", "exclude.1"]


@pytest.mark.parametrize(
    "method_and_path", [("GET", "/nope", 404), ("DELETE", "/recommend", 405), ("GET", "/v1/recommend", 405)]
)
async def test_unknown_paths_and_methods(running: Running, method_and_path: tuple[str, str, int]):
    method, path, status = method_and_path
    answer = await running.http.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert answer.headers["x-request-id"] == answer.json()["error"]["request_id"]
    assert ("allow" in answer.headers) == (status == 405)


async def test_a_head_request_is_no_exposure(running: Running):
    assert (await running.http.head("/recommend?user_id=a")).status_code == 405
    assert running.world.triton.calls == []


@pytest.mark.parametrize("offered", ["a b", "x" * 65, "a\tb", "ümlaut".encode(), "<script>"])
async def test_an_unsafe_request_id_is_replaced(running: Running, offered: str | bytes):
    answer = await running.http.get("/recommend?user_id=a", headers={"x-request-id": offered})
    assert len(answer.json()["request_id"]) == 16


async def test_a_safe_request_id_is_kept_everywhere(running: Running):
    answer = await running.http.get("/recommend?user_id=a", headers={"x-request-id": "req-1.2_3"})
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "req-1.2_3"
    refused = await running.http.get("/recommend", headers={"x-request-id": "req-1.2_3"})
    assert refused.json()["error"]["request_id"] == "req-1.2_3"


def test_both_forms_mean_the_same():
    query = (
        b"user_id=%C5%BE+x&num_items=7&device=mobile&country=no&placement=home&exclude=a&exclude=b&timings=true"
        b"&os=android&language=nb-NO&time_zone=America/Argentina/Ushuaia&referrer=ads&session_depth=255"
    )
    body = orjson.dumps(
        {
            "user_id": "ž x",
            "num_items": 7,
            "device": "mobile",
            "country": "no",
            "placement": "home",
            "exclude": ["a", "b"],
            "timings": True,
            "os": "android",
            "language": "nb-NO",
            "time_zone": "America/Argentina/Ushuaia",
            "referrer": "ads",
            "session_depth": 255,
        }
    )
    assert inbound.from_query(query) == inbound.from_body(body, RecommendRequest)
    assert inbound.from_query(b"user_id=a") == RecommendRequest(user_id="a")


@pytest.mark.parametrize("tag", ["de", "gsw", "pt-BR", "pt_BR", "zh-Hant-TW", "es-419", "de-DE-1996"])
def test_language_tags(tag: str):
    assert inbound.from_body(orjson.dumps({"user_id": "a", "language": tag}), RecommendRequest).language == tag


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata", "Etc/GMT+5", "US/Pacific"])
def test_time_zones(zone: str):
    assert inbound.from_body(orjson.dumps({"user_id": "a", "time_zone": zone}), RecommendRequest).time_zone == zone


def test_the_limits_themselves_are_fine():
    assert inbound.from_query(b"user_id=" + b"a" * 256 + b"&num_items=200").num_items == 200
    with pytest.raises(InvalidError):
        inbound.from_query(b"user_id=" + "ž".encode().hex().encode() * 100)
