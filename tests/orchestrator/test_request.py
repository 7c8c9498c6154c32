"""One request through the whole service: what is read, cached, shown, logged, counted, bounded and cancelled."""

import asyncio
import time
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest

from feature_repo.schema import SCHEMA, country_code
from feature_repo.vectors import item_key, pack_user_row, unpack_user_row, user_key
from orchestrator.app import assemble
from orchestrator.errors import UnavailableError
from orchestrator.fakes import fake_id
from orchestrator.policy import Policy
from orchestrator.users import UserRow, shown_key
from tests.orchestrator.conftest import KNOWN_USER, Running, World, user_row

pytestmark = pytest.mark.anyio
EMBEDDING = f"embedding:tower:{SCHEMA.hash}:{KNOWN_USER}"


async def test_the_answer_has_the_documented_shape(running: Running):
    answer = await running.recommend(num_items=2, timings=True)
    assert set(answer) == {
        "request_id", "user_id", "items", "model_version", "variant", "latency_ms", "degraded", "timings",
    }
    assert answer["items"][0] == {
        "item_id": "item0000", "rank": 1, "score": pytest.approx(0.5 + 0.1 + 0.025 + 0.2 / 9, abs=0.1),
        "scores": {"relevance": 1.0, "ctr": 0.5, "cvr": 0.25},
        "metadata": {"title": "first", "category": "a", "price": 2.5},
    }
    assert answer["items"][1]["metadata"] == {}  # nothing stored: not an error
    assert set(answer["timings"]) == {"read", "queue", "embed", "recommend", "rules", "respond"}
    assert (answer["model_version"], answer["variant"]) == ("1", "champion")


async def test_post_takes_the_same_path(running: Running):
    answer = await running.http.post("/v1/recommend", json={"user_id": KNOWN_USER, "num_items": 3, "country": "NO"})
    assert len(answer.json()["items"]) == 3
    user, embedding, country, context = running.world.triton.inputs[-1]
    assert country.tolist() == [country_code("NO")]
    assert user.dtype == embedding.dtype == context.dtype == np.float32


async def test_the_user_is_read_in_one_round_trip(running: Running):
    await running.recommend()
    assert running.world.store.round_trips[0] == ["MGET", "LRANGE"]
    assert running.world.store.round_trips[1] == ["MGET"]  # metadata


async def test_the_embedding_is_cached_by_tower_schema_and_user(running: Running):
    await running.recommend()
    await running.service.writer.flush()
    assert np.frombuffer(running.world.store.values[EMBEDDING], "<f4").tolist() == pytest.approx([0.1] * 128)
    await running.recommend()
    assert [name for name, _ in running.world.triton.calls] == ["user_tower", "recommend_1", "recommend_1"]


@pytest.mark.parametrize("poison", [b"short", np.full(128, np.nan, np.float32).tobytes(), np.zeros(64, np.float32).tobytes()])
async def test_a_poisoned_embedding_is_a_miss(running: Running, poison: bytes):
    running.world.store.values[EMBEDDING] = poison
    answer = await running.recommend()
    assert answer["degraded"] is None
    assert running.world.triton.calls[0] == ("user_tower", 1)


async def test_a_broken_row_falls_back_and_bad_values_become_defaults(running: Running):
    running.world.store.values[user_key(KNOWN_USER)] = b"torn"
    await running.recommend()
    assert running.world.rows.asked == [KNOWN_USER]
    spoilt = user_row()
    spoilt[[1, 5]] = np.nan, np.inf
    running.world.store.values[user_key("bad")] = pack_user_row(spoilt, int(time.time()))
    answer = await running.recommend("bad")
    assert answer["degraded"] is None
    assert np.isfinite(running.world.triton.inputs[-1][0]).all()


async def test_an_unknown_user_is_cold_not_degraded_and_looked_up_once(running: Running):
    for _ in range(3):
        answer = await running.recommend("stranger", country="NO")
        assert answer["degraded"] is None
    assert running.world.rows.asked == ["stranger"]
    row = running.world.triton.inputs[-1][0]
    assert row[SCHEMA.offset("user_country")] == country_code("NO")
    assert [name for name, _ in running.world.triton.calls].count("user_tower") == 1  # one cold embedding a country


async def test_a_row_found_through_feast_is_written_back_packed(running: Running):
    running.world.rows.rows["late"] = UserRow(values=user_row())
    await running.recommend("late")
    await running.service.writer.flush()
    values, _ = unpack_user_row(running.world.store.values[user_key("late")])
    np.testing.assert_array_equal(values, user_row())
    await running.recommend("late")
    assert running.world.rows.asked == ["late"]


@pytest.mark.parametrize(("failure", "delay_s", "reason"), [(RuntimeError("x"), 0, "features_bad_answer"), (None, 1, "features_late")])
async def test_feast_out_of_order_is_degraded(running: Running, failure: Exception | None, delay_s: float, reason: str):
    running.world.rows.failure, running.world.rows.delay_s = failure, delay_s
    answer = await running.recommend("stranger")
    assert answer["degraded"] == {"level": "L1", "reasons": [reason], "coverage": 1.0}


async def test_a_row_of_another_shape_is_not_used(running: Running):
    running.world.rows.rows["odd"] = UserRow(values=np.zeros(3, np.float32))
    assert (await running.recommend("odd"))["degraded"]["reasons"] == ["features_bad_answer"]


async def test_the_country_of_the_row_decides_the_region_when_the_request_names_none(running: Running):
    row = user_row()
    row[SCHEMA.offset("user_country")] = country_code("SE")
    running.world.store.values[user_key("swede")] = pack_user_row(row, int(time.time()))
    await running.recommend("swede")
    assert running.world.triton.inputs[-1][2].tolist() == [country_code("SE")]


async def test_recently_shown_items_do_not_come_again(running: Running):
    first = await running.recommend(num_items=5)
    await running.service.writer.flush()
    stored = running.world.store.lists[shown_key(KNOWN_USER)]
    assert {int(np.frombuffer(entry, "<i8")[0]) for entry in stored} == {item_key(i["item_id"]) for i in first["items"]}
    second = await running.recommend(num_items=5)
    assert [item["item_id"] for item in second["items"]] == [fake_id(i) for i in range(5, 10)]


async def test_the_list_of_shown_items_is_capped(running: Running):
    for _ in range(3):
        await running.recommend(num_items=60)
        await running.service.writer.flush()
    assert len(running.world.store.lists[shown_key(KNOWN_USER)]) == 100


async def test_broken_metadata_is_left_out(running: Running):
    running.world.store.values["item:item0000"] = b"{torn"
    running.world.store.values["item:item0001"] = b"[1]"
    answer = await running.recommend(num_items=2)
    assert [item["metadata"] for item in answer["items"]] == [{}, {}]


async def test_impressions_are_logged_one_line_each(running: Running):
    await running.recommend("line\u00e9", num_items=2)
    await running.service.writer.flush()
    lines = (running.world.folder / "impressions.jsonl").read_bytes().splitlines()
    entry = orjson.loads(lines[0])
    assert len(lines) == 1
    assert entry["user_id"] == "liné" or entry["user_id"] == "line\u00e9"
    assert [item[0] for item in entry["items"]] == ["item0000", "item0001"]
    assert (entry["model_version"], entry["level"], len(entry["features"])) == ("1", "L0", 16)


async def test_a_full_log_drops_and_counts(world: World):
    world.policy = Policy(log_queue=3)
    service = world.service()
    for _ in range(5):
        service.writer.line({"a": 1})
    service.writer.command("shown", ("EXPIRE", "x", 1), ("EXPIRE", "x", 1))
    service.writer.command("shown", ("EXPIRE", "x", 1), ("EXPIRE", "x", 1))
    text = (await operations(service)).text
    assert 'log_dropped_total{kind="impression",reason="queue_full"} 2.0' in text
    assert 'log_dropped_total{kind="shown",reason="queue_full"} 1.0' in text


async def test_a_disk_that_refuses_costs_lines_not_answers(running: Running):
    (running.world.folder / "impressions.jsonl").unlink(missing_ok=True)
    (running.world.folder / "impressions.jsonl").mkdir()
    await running.recommend()
    await running.service.writer.flush()
    assert 'log_dropped_total{kind="impression",reason="disk"}' in (await operations(running.service)).text
    await running.recommend()


async def operations(service: object) -> httpx.Response:
    transport = httpx.ASGITransport(app=assemble(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        return await http.get("/metrics")


async def test_metrics_have_their_exact_names(running: Running):
    await running.recommend("user-text-never-a-label")
    await running.http.get("/recommend")
    text = (await running.http.get("/metrics")).text
    for series in (
        'recommendation_requests_total{endpoint="/recommend",status="200"}',
        'recommendation_requests_total{endpoint="/recommend",status="422"}',
        'recommendation_latency_seconds_bucket{le="0.0005",stage="total"}',
        'recommendation_latency_seconds_count{stage="recommend"}',
        'model_predictions_total{model_version="1"}',
        "recommendations_in_flight 0.0",
        'cache_lookups_total{cache="embedding",result="miss"}',
    ):
        assert series in text
    assert "user-text" not in text


async def test_one_more_than_the_limit_is_refused_at_once(world: World):
    world.policy = Policy(max_in_flight=2)
    world.triton.delay_s["recommend"] = 0.05
    service = world.service()
    await service.start()
    async with world.client(service) as http:
        answers = await asyncio.gather(*(http.get("/recommend?user_id=a") for _ in range(5)))
        assert sorted(a.status_code for a in answers) == [200, 200, 429, 429, 429]
        refused = next(a for a in answers if a.status_code == 429)
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "overloaded"
        assert (await http.get("/recommend?user_id=a")).status_code == 200
    assert service.recommender.limit.in_flight == 0
    await service.stop()


async def test_a_client_that_hangs_up_cancels_its_calls_and_frees_its_slot(running: Running):
    running.world.triton.delay_s["recommend"] = 0.05
    app, gone, sent = assemble(running.service), asyncio.Event(), []

    async def receive() -> dict[str, object]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/recommend", "raw_path": b"/recommend", "headers": [],
             "query_string": b"user_id=a", "root_path": "", "scheme": "http", "http_version": "1.1",
             "client": ("test", 1), "server": ("test", 80), "asgi": {"version": "3.0"}}
    request = asyncio.create_task(app(scope, receive, send))
    await asyncio.sleep(0.02)
    assert running.service.recommender.limit.in_flight == 1
    gone.set()
    await request
    assert sent == []
    assert running.world.triton.cancelled == 1
    assert running.service.recommender.limit.in_flight == 0
    assert running.service.recommender.ladder._gate.inside == 0


async def test_a_cancelled_server_task_is_cancelled(running: Running):
    running.world.triton.delay_s["recommend"] = 0.05
    request = asyncio.create_task(running.recommend())
    await asyncio.sleep(0.02)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await asyncio.sleep(0.06)
    assert running.service.recommender.limit.in_flight == 0


async def test_health_readiness_and_draining(running: Running):
    assert (await running.http.get("/healthz")).json() == {"status": "alive"}
    assert (await running.http.get("/readyz")).status_code == 200
    running.world.triton.not_ready = {"recommend_1"}
    answer = await running.http.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["recommend_1/1 is not ready"])
    running.service.draining = True
    assert (await running.http.get("/readyz")).json()["reasons"] == ["shutting down"]


async def test_without_a_traffic_record_it_is_alive_but_not_ready(world: World):
    world.store.failure = UnavailableError("x")
    service = world.service()
    await service.start()
    async with world.client(service) as http:
        assert (await http.get("/healthz")).status_code == 200
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["no traffic record"])
    await service.stop()


async def test_the_docs_show_both_routes_their_models_and_errors(running: Running):
    document = (await running.http.get("/openapi.json")).json()
    assert {"/recommend", "/v1/recommend", "/healthz", "/readyz", "/metrics"} <= set(document["paths"])
    post = document["paths"]["/v1/recommend"]["post"]
    assert post["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/RecommendRequest")
    assert {"200", "422", "429", "503"} <= set(post["responses"])
    assert (await running.http.get("/docs")).status_code == 200


async def test_a_bug_is_a_500_that_tells_nothing(running: Running, tmp_path: Path):
    running.service.recommender.users.read = None  # type: ignore[assignment, method-assign]
    answer = await running.http.get("/recommend?user_id=a")
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "internal error"
    assert running.service.recommender.limit.in_flight == 0
