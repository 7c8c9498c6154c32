"""Around a request: the log, the metrics, admission, disconnects, health, the docs."""

import asyncio
import time
from pathlib import Path

import httpx
import orjson
import pytest

from feature_repo.rows import UserRow, pack_user_row, user_key
from feature_repo.served import IMPRESSIONS
from feature_repo.vectors import NO_HISTORY
from orchestrator.app import assemble
from orchestrator.errors import UnavailableError
from orchestrator.service import Service
from tests.orchestrator.conftest import Running, World, packed, patient, user_row

pytestmark = pytest.mark.anyio


async def test_hot_routes_pass_no_middleware(running: Running):
    """They are found before anything else of FastAPI, which serves the others."""

    async def refuse(*_: object) -> None:
        raise AssertionError("a middleware was asked")

    app = assemble(running.service)
    app.middleware_stack = refuse
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.get("/recommend?user_id=a")).status_code == 200
        assert (await http.post("/v1/recommend", json={"user_id": "a"})).status_code == 200
        with pytest.raises(AssertionError, match="middleware"):
            await http.get("/healthz")


async def test_impressions_are_logged_one_line_each(running: Running):
    await running.recommend("line\u00e9", num_items=2)
    await running.service.log.flush()
    lines = running.world.store.logged(IMPRESSIONS)
    entry = orjson.loads(lines[0])
    assert len(lines) == 1
    assert entry["user_id"] == "line\u00e9"
    assert [item[0] for item in entry["items"]] == ["item0000", "item0001"]
    assert (entry["model_version"], entry["level"], len(entry["features"])) == ("1", "L0", 16)


async def test_the_logged_hash_covers_row_history_and_context(running: Running):
    """Whoever replays a request compares this hash: any input of the model that changes must change it."""

    async def digest(user: str, **more: object) -> str:
        await running.recommend(user, time_zone="UTC", **more)
        await running.service.log.flush()
        return orjson.loads(running.world.store.logged(IMPRESSIONS)[-1])["features"]

    running.world.store.values[user_key("twin")] = packed()
    unread = UserRow(values=user_row(), history=NO_HISTORY, computed_at=int(time.time()))
    running.world.store.values[user_key("unread")] = pack_user_row(unread)
    hashes = [await digest("twin"), await digest("unread"), await digest("stranger"), await digest("twin", os="ios")]
    assert len(set(hashes)) == len(hashes)


async def test_a_full_queue_of_writes_drops_and_counts(world: World):
    world.policy = patient(2.0, write_queue=3)
    service = world.service()
    service.writer.command("shown", ("EXPIRE", "x", 1), ("EXPIRE", "x", 1))
    service.writer.command("shown", ("EXPIRE", "x", 1), ("EXPIRE", "x", 1))
    assert 'log_dropped_total{kind="shown",reason="queue_full"} 1.0' in (await operations(service)).text


async def operations(service: Service) -> httpx.Response:
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
    world.policy = patient(2.0, max_in_flight=2)
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

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/recommend",
        "raw_path": b"/recommend",
        "headers": [],
        "query_string": b"user_id=a",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "client": ("test", 1),
        "server": ("test", 80),
        "asgi": {"version": "3.0"},
    }
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
    assert {"/recommend", "/v1/recommend", "/v1/events", "/healthz", "/readyz", "/metrics"} <= set(document["paths"])
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
