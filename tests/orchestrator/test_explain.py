"""`?explain=true`: the normal answer and why, for who shows the key; nothing of it counts as an exposure."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest

from feature_repo.schema import SCHEMA
from feature_repo.served import IMPRESSIONS
from feature_repo.vectors import item_key
from model_repository.contract import CANDIDATES, EXPLAINED, RANKER_WIDTH, RULE_COLUMNS
from model_repository.traffic import TRAFFIC_KEY
from orchestrator import effects, rules
from orchestrator.app import assemble
from orchestrator.call import Arrays, Call
from orchestrator.contributions import difference, largest
from orchestrator.errors import LateError, UnavailableError
from orchestrator.explanation import ExplainedResponse
from orchestrator.fakes import fake_id
from orchestrator.metrics import REGISTRY
from orchestrator.policy import Blend, RulePolicy
from orchestrator.users import shown_key
from tests.orchestrator.conftest import ADMIN, KNOWN_USER, Running, World, record, served

pytestmark = pytest.mark.anyio
SIMILARITY = SCHEMA.ranker_names.index("cross_similarity")
PRICE = SCHEMA.ranker_names.index("item_price")


def explaining(call: Call, arrays: Arrays) -> Arrays:
    """Relevance is explained by similarity alone (2.0), CTR by price (−1.5), and a bias of 0.25 each."""
    if call.slot == "explain":
        contributions = arrays["contributions"]
        contributions[:, :, RANKER_WIDTH] = 0.25
        contributions[:, 0, SIMILARITY] = 2.0
        contributions[:, 1, PRICE] = -1.5
    return arrays


async def explain(running: Running, status: int = 200, **fields: object) -> dict:
    body = {"user_id": KNOWN_USER, "num_items": 5, **fields}
    answer = await running.http.post("/v1/recommend?explain=true", json=body, headers=ADMIN)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_the_answer_is_the_normal_one_and_says_why(running: Running) -> None:
    running.world.triton.alter = explaining
    body = await explain(running, user_id="bob")
    normal = await running.recommend(num_items=5, user_id="bob")
    found = body["explanation"]
    assert body["items"] == normal["items"]
    assert found["level"] == "L0"
    assert found["candidates"] == CANDIDATES
    assert found["unexplained"] is None
    first = found["items"][0]
    assert first["retrieval"] == {"rank": 1, "similarity": 1.0}
    assert first["contributions"]["relevance"] == {
        "bias": 0.25,
        "features": [{"feature": "cross_similarity", "value": 1.0, "contribution": 2.0}],
        "others": 0.0,
        "log_odds": 2.25,
    }
    assert first["contributions"]["ctr"]["features"][0] == {"feature": "item_price", "value": 1.0, "contribution": -1.5}
    assert first["contributions"]["cvr"]["features"] == []
    assert {"read", "recommend", "rules", "explain_candidates", "explain_contributions"} <= set(found["timings"])


async def test_terms_and_freshness_make_the_score(running: Running) -> None:
    body = await explain(running)
    for item in body["explanation"]["items"]:
        assert sum(item["blend"].values()) * item["freshness"] == pytest.approx(item["score"], abs=4e-6)


async def test_an_explanation_is_no_exposure(running: Running) -> None:
    def counted() -> list[object]:
        return [REGISTRY.get_sample_value("model_predictions_total", {"model_version": "1"})]

    await running.recommend()
    await running.service.log.flush()
    await running.service.writer.flush()
    before, logged = counted(), list(running.world.store.logged(IMPRESSIONS))
    shown = list(running.world.store.lists[shown_key(KNOWN_USER)])
    await explain(running)
    await running.service.log.flush()
    await running.service.writer.flush()
    assert counted() == before
    assert running.world.store.logged(IMPRESSIONS) == logged
    assert running.world.store.lists[shown_key(KNOWN_USER)] == shown


async def test_each_rule_says_what_it_hid(running: Running) -> None:
    def alter(call: Call, arrays: Arrays) -> Arrays:
        del call
        if "rules" in arrays:
            arrays["rules"][0, :7, RULE_COLUMNS.index("in_stock")] = 0
            arrays["rules"][0, 5:9, RULE_COLUMNS.index("is_safe")] = 0
            arrays["rules"][0, 20, RULE_COLUMNS.index("in_region")] = 0
        return arrays

    running.world.triton.alter = alter
    running.world.store.lists[shown_key(KNOWN_USER)] = [item_key(fake_id(9)).to_bytes(8, "little", signed=True)]
    body = await explain(running, exclude=[fake_id(10), fake_id(11), "never-heard-of"])
    found = body["explanation"]
    assert found["hidden"] == {"stock": 7, "safety": 4, "region": 1, "recently_shown": 1, "excluded": 2}
    assert found["eligible"] == CANDIDATES - 13
    assert body["items"][0]["item_id"] == fake_id(12)
    assert found["items"][0]["retrieval"]["rank"] == 13
    assert found["items"][0]["rank_by_score"] == 1


async def test_what_is_withdrawn_is_not_eligible(running: Running) -> None:
    running.service.recommender.withdrawn.keys = np.array([item_key(fake_id(0))], np.int64)
    body = await explain(running)
    assert body["explanation"]["eligible"] == CANDIDATES - 1
    assert body["items"][0]["item_id"] == fake_id(1)
    assert body["explanation"]["items"][0]["rank_by_score"] == 1


async def test_the_spread_says_whom_it_moved(running: Running) -> None:
    def alter(call: Call, arrays: Arrays) -> Arrays:
        del call
        if "rules" in arrays:
            arrays["rules"][0, :5, RULE_COLUMNS.index("category")] = 77
        return arrays

    running.world.triton.alter = alter
    found = (await explain(running, num_items=12))["explanation"]
    assert found["moved"] == [
        {"item_id": fake_id(3), "rank_by_score": 4, "rank": 11},
        {"item_id": fake_id(4), "rank_by_score": 5, "rank": 12},
    ]
    assert [(item["rank_by_score"], item["rank"]) for item in found["items"][2:5]] == [(3, 3), (6, 4), (7, 5)]


async def test_all_calls_go_to_one_release(running: Running) -> None:
    await explain(running)
    assert {name: version for name, version in running.world.triton.calls if not name.startswith("recommend")} == {
        "user_tower": 1, "candidates": 1, "assemble": 1, "explain": 1,
    }  # fmt: skip


@pytest.mark.parametrize("items", [1, EXPLAINED, EXPLAINED + 1, 200])
async def test_rows_are_explained_some_at_a_time(running: Running, items: int) -> None:
    found = (await explain(running, num_items=items))["explanation"]
    assert all(item["contributions"] is not None for item in found["items"])
    calls = [name for name, _ in running.world.triton.calls if name == "explain"]
    assert len(calls) == -(-items // EXPLAINED)


@pytest.mark.parametrize("slot", ["assemble", "explain"])
@pytest.mark.parametrize(("failure", "reason"), [(UnavailableError("x"), "unavailable"), (LateError("x"), "late")])
async def test_without_its_models_the_answer_still_comes(
    running: Running, slot: str, failure: UnavailableError | LateError, reason: str
) -> None:
    running.world.triton.failure[slot] = failure
    for _ in range(8):  # more than a breaker takes
        body = await explain(running)
        assert len(body["items"]) == 5
        assert body["degraded"] is None
        assert {item["contributions"] for item in body["explanation"]["items"]} == {None}
    assert body["explanation"]["unexplained"] in (reason, "unavailable")
    assert (await running.recommend())["degraded"] is None  # its breakers are its own


async def test_contributions_that_are_not_finite_are_none(running: Running) -> None:
    def alter(call: Call, arrays: Arrays) -> Arrays:
        if call.slot == "explain":
            arrays["contributions"][0, 0, 0] = np.nan
        return arrays

    running.world.triton.alter = alter
    assert (await explain(running))["explanation"]["unexplained"] == "bad_answer"


async def test_a_rung_without_a_ranker_is_explained_as_far_as_it_goes(running: Running) -> None:
    running.world.triton.failure["recommend"] = UnavailableError("x")
    body = await explain(running)
    assert body["degraded"]["level"] == "L2"
    assert body["explanation"]["unexplained"] == "not_ranked"
    assert body["explanation"]["items"][0]["blend"] is None
    assert body["explanation"]["items"][0]["retrieval"]["similarity"] == 1.0


async def test_popular_items_are_explained_too(running: Running) -> None:
    running.world.triton.failure |= {slot: UnavailableError("x") for slot in ("recommend", "candidates")}
    body = await explain(running)
    assert body["explanation"]["level"] == "L4"
    assert len(body["explanation"]["items"]) == 5


async def test_a_release_of_an_earlier_revision_has_no_model(world: World) -> None:
    old = served().model_copy(update={"assemble": None, "explain": None})
    world.store.values[TRAFFIC_KEY] = record(old)
    service = world.service()
    await service.start()
    async with world.client(service) as http:
        found = (await explain(Running(world, service, http)))["explanation"]
    await service.stop()
    assert found["unexplained"] == "no_model"
    assert found["items"][0]["blend"] is not None


async def test_one_at_a_time(running: Running) -> None:
    running.world.triton.delay_s["explain"] = 0.2
    answers = await asyncio.gather(*(ask(running.http) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429]
    assert (await ask(running.http)).status_code == 200


async def ask(http: httpx.AsyncClient, query: str = "explain=true", **headers: str) -> httpx.Response:
    return await http.post(f"/v1/recommend?{query}", json={"user_id": "x"}, headers=headers or ADMIN)


@pytest.mark.parametrize("key", ["", "Bearer", "Bearer wrong", "Basic an-admin-key-for-tests"])
async def test_without_the_key_nothing_is_explained(running: Running, key: str) -> None:
    answer = await ask(running.http, authorization=key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
    assert running.world.triton.calls == []


@pytest.fixture
async def closed(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """An application that was started without an admin key."""
    transport = httpx.ASGITransport(app=assemble(running.service))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


async def test_without_a_key_set_it_is_off(closed: httpx.AsyncClient) -> None:
    assert (await ask(closed)).status_code == 403
    assert (await ask(closed, query="explain=false")).status_code == 200


@pytest.mark.parametrize(
    "query",
    ["explain=True", "explain=", "explain", "explain=true&x=1", "x=1", "explain=true&explain=true", "%65xplain=true"],
)
async def test_any_other_query_is_refused(running: Running, query: str) -> None:
    answer = await ask(running.http, query=query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed")


async def test_the_normal_answer_needs_no_key(running: Running) -> None:
    body = (await running.http.post("/v1/recommend?explain=false", json={"user_id": "x"})).json()
    assert "explanation" not in body


async def test_the_document_knows_of_it(running: Running) -> None:
    document = (await running.http.get("/openapi.json")).json()
    operation = document["paths"]["/v1/recommend"]["post"]
    assert [(p["name"], p["in"], p["required"]) for p in operation["parameters"]] == [("explain", "query", False)]
    assert operation["security"] == [{"HTTPBearer": []}, {}]  # only what it explains needs the key
    assert {"401", "403", "429"} <= operation["responses"].keys()
    assert {"Explanation", "ExplainedItem", "Contributions"} <= document["components"]["schemas"].keys()


async def test_an_explanation_fits_the_document(running: Running) -> None:
    ExplainedResponse.model_validate(await explain(running), strict=True)


def test_terms_sum_to_the_blend() -> None:
    rng = np.random.default_rng(1)
    objectives, prices = rng.random((50, 3)), rng.choice([0.0, 3.5, -2.0, np.nan, np.inf, 900.0], 50)
    weights = Blend(relevance=0.3, ctr=0.4, cvr=0.05, revenue=0.25, revenue_scale=2.0)
    terms = [effects.blend_terms(o, p, weights) for o, p in zip(objectives, prices, strict=True)]
    sums = [sum(term.model_dump().values()) for term in terms]
    np.testing.assert_allclose(sums, rules.blend(objectives, prices, weights), atol=1e-12)


def test_the_order_before_the_spread_is_the_rules_own() -> None:
    policy = RulePolicy(window=2, per_category=1)
    columns = np.ones((4, len(RULE_COLUMNS)), np.float32)
    candidates = rules.Candidates(
        keys=np.arange(1, 5), ids=np.array([b"a", b"b", b"c", b"d"]), rules=columns, objectives=np.zeros((4, 3))
    )
    scores = np.array([0.1, 0.4, np.nan, 0.3])
    ordered = effects.by_score(scores, candidates, np.array([4]))
    assert ordered.tolist() == [1, 0, 2]
    assert rules.select(scores, candidates, np.array([4]), 4, policy).tolist() == [1, 0, 2]


def test_the_largest_are_named_and_the_rest_summed() -> None:
    contributions = np.zeros((3, RANKER_WIDTH + 1), np.float32)
    contributions[0, :4] = [0.5, -2.0, 0.25, 0.125]
    contributions[0, -1] = 1.0
    row = np.full(RANKER_WIDTH, np.nan, np.float32)
    found = largest(row, contributions, most=2)["relevance"]
    assert [(one.feature, one.contribution) for one in found.features] == [
        (SCHEMA.ranker_names[1], -2.0), (SCHEMA.ranker_names[0], 0.5),
    ]  # fmt: skip
    assert found.features[0].value is None
    assert (found.others, found.log_odds) == (0.375, -0.125)


def test_the_difference_is_between_sigmoid_and_score() -> None:
    contributions = np.zeros((2, 3, 4))
    contributions[1, 2, :] = 0.25
    expected = 1 / (1 + np.exp(-1.0))
    objectives = np.full((2, 3), 0.5)
    objectives[1, 2] = expected - 0.1
    assert difference(contributions, objectives) == pytest.approx(0.1)
