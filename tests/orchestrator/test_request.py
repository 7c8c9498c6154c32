"""One request through the whole service: what is read, cached, shown, logged, counted, bounded and cancelled."""

import time
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest

from feature_repo.context import RequestContext, context_array
from feature_repo.rows import UserRow, pack_user_row, unpack_user_row, user_key
from feature_repo.schema import SCHEMA, country_code, language_code
from feature_repo.served import IMPRESSIONS
from feature_repo.vectors import NO_HISTORY, item_key
from model_repository.traffic import TRAFFIC_KEY, popular_key
from orchestrator.fakes import fake_id
from orchestrator.metrics import REGISTRY
from orchestrator.policy import ShownPolicy
from orchestrator.stored import shown_key
from tests.orchestrator.conftest import KNOWN_USER, Running, history, packed, user_row

pytestmark = pytest.mark.anyio
EMBEDDING = f"embedding:tower:{SCHEMA.hash}:{KNOWN_USER}"


async def test_the_answer_has_the_documented_shape(running: Running):
    answer = await running.recommend(num_items=2, timings=True)
    assert set(answer) == {
        "request_id",
        "user_id",
        "items",
        "model_version",
        "variant",
        "latency_ms",
        "degraded",
        "timings",
    }
    assert answer["items"][0] == {
        "item_id": "item0000",
        "rank": 1,
        "score": pytest.approx(0.5 + 0.1 + 0.025 + 0.2 / 9, abs=0.1),
        "scores": {"relevance": 1.0, "ctr": 0.5, "cvr": 0.25},
        "metadata": {"title": "first", "category": "a", "price": 2.5},
    }
    assert answer["items"][1]["metadata"] == {}  # nothing stored: not an error
    assert set(answer["timings"]) == {"read", "queue", "embed", "recommend", "rules", "respond"}
    assert (answer["model_version"], answer["variant"]) == ("1", "champion")


async def test_post_takes_the_same_path(running: Running):
    answer = await running.http.post("/v1/recommend", json={"user_id": KNOWN_USER, "num_items": 3, "country": "NO"})
    assert len(answer.json()["items"]) == 3
    user, entries, embedding, country, context = running.world.triton.inputs[-1]
    assert country.tolist() == [country_code("NO")]
    assert user.dtype == embedding.dtype == context.dtype == np.float32
    np.testing.assert_array_equal(entries, history())


async def test_the_user_is_read_in_one_round_trip(running: Running):
    await running.recommend()
    assert running.world.store.round_trips[0] == ["MGET", "LRANGE", "LRANGE"]
    assert running.world.store.round_trips[1] == ["MGET"]  # metadata


async def test_the_embedding_is_cached_by_tower_schema_and_user(running: Running):
    await running.recommend()
    await running.service.writer.flush()
    assert np.frombuffer(running.world.store.values[EMBEDDING], "<f4").tolist() == pytest.approx([0.1] * 128)
    await running.recommend()
    assert [name for name, _ in running.world.triton.calls] == ["user_tower", "recommend_1", "recommend_1"]


@pytest.mark.parametrize(
    "poison", [b"short", np.full(128, np.nan, np.float32).tobytes(), np.zeros(64, np.float32).tobytes()]
)
async def test_a_poisoned_embedding_is_a_miss(running: Running, poison: bytes):
    running.world.store.values[EMBEDDING] = poison
    answer = await running.recommend()
    assert answer["degraded"] is None
    assert running.world.triton.calls[0] == ("user_tower", 1)


def imputed(feature: str) -> float:
    """How often a value of the feature was replaced."""
    return REGISTRY.get_sample_value("feature_values_imputed_total", {"feature": feature}) or 0.0


async def test_a_broken_row_falls_back_and_bad_values_become_defaults(running: Running):
    running.world.store.values[user_key(KNOWN_USER)] = b"torn"
    await running.recommend()
    assert running.world.rows.asked == [KNOWN_USER]
    spoilt = user_row()
    spoilt[[SCHEMA.offset("user_spend_30d"), SCHEMA.offset("user_ctr_7d")]] = np.nan, np.inf
    running.world.store.values[user_key("bad")] = packed(spoilt)
    before = imputed("user_spend_30d"), imputed("user_ctr_7d"), imputed("user_ctr_30d")
    answer = await running.recommend("bad")
    assert answer["degraded"] is None
    after = imputed("user_spend_30d"), imputed("user_ctr_7d"), imputed("user_ctr_30d")
    assert np.subtract(after, before).tolist() == [1, 1, 0]
    row, entries, *_ = running.world.triton.inputs[-1]
    np.testing.assert_array_equal(row, user_row())
    np.testing.assert_array_equal(entries, history())


async def test_an_unknown_user_is_cold_not_degraded_and_looked_up_once(running: Running):
    for _ in range(3):
        answer = await running.recommend("stranger", country="NO")
        assert answer["degraded"] is None
    assert running.world.rows.asked == ["stranger"]
    row, entries, *_ = running.world.triton.inputs[-1]
    assert row[SCHEMA.offset("user_country")] == country_code("NO")
    np.testing.assert_array_equal(entries, NO_HISTORY)
    assert [name for name, _ in running.world.triton.calls].count("user_tower") == 1  # one cold embedding a country


async def test_a_row_found_through_feast_is_written_back_packed(running: Running):
    found = UserRow(values=user_row(), history=history(), computed_at=int(time.time()))
    running.world.rows.rows["late"] = found
    await running.recommend("late")
    np.testing.assert_array_equal(running.world.triton.inputs[-1][1], history())
    await running.service.writer.flush()
    written = unpack_user_row(running.world.store.values[user_key("late")])
    np.testing.assert_array_equal(written.values, found.values)
    np.testing.assert_array_equal(written.history, found.history)
    assert abs(written.computed_at - found.computed_at) <= 1
    await running.recommend("late")
    assert running.world.rows.asked == ["late"]


async def test_a_feast_row_that_did_not_change_for_long_is_as_fresh_as_the_last_materialisation(running: Running):
    tenth = int(time.time()) - 10 * 86_400
    running.world.rows.rows["quiet"] = UserRow(values=user_row(), history=history(), computed_at=tenth)
    answer = await running.recommend("quiet")
    assert answer["degraded"] is None


@pytest.mark.parametrize(
    ("failure", "delay_s", "reason"), [(RuntimeError("x"), 0, "features_bad_answer"), (None, 1, "features_late")]
)
async def test_feast_out_of_order_is_degraded(running: Running, failure: Exception | None, delay_s: float, reason: str):
    running.world.rows.failure, running.world.rows.delay_s = failure, delay_s
    answer = await running.recommend("stranger")
    assert answer["degraded"] == {"level": "L1", "reasons": [reason], "coverage": 1.0}


@pytest.mark.parametrize(
    "odd",
    [
        UserRow(values=np.zeros(3, np.float32), history=NO_HISTORY),
        UserRow(values=user_row().astype(np.float64), history=NO_HISTORY),  # type: ignore[arg-type]
        UserRow(values=user_row(), history=NO_HISTORY[1:]),
    ],
    ids=["width", "type", "history"],
)
async def test_a_row_of_another_shape_is_not_used(running: Running, odd: UserRow):
    running.world.rows.rows["odd"] = odd
    assert (await running.recommend("odd"))["degraded"]["reasons"] == ["features_bad_answer"]


async def test_the_country_of_the_row_decides_the_region_when_the_request_names_none(running: Running):
    row = user_row()
    row[SCHEMA.offset("user_country")] = country_code("SE")
    running.world.store.values[user_key("swede")] = packed(row)
    await running.recommend("swede")
    assert running.world.triton.inputs[-1][3].tolist() == [country_code("SE")]


async def test_recently_shown_items_do_not_come_again(running: Running):
    first = await running.recommend(num_items=5)
    await running.service.writer.flush()
    stored = running.world.store.lists[shown_key(KNOWN_USER)]
    assert {int(np.frombuffer(entry, "<i8")[0]) for entry in stored} == {item_key(i["item_id"]) for i in first["items"]}
    second = await running.recommend(num_items=5)
    assert [item["item_id"] for item in second["items"]] == [fake_id(i) for i in range(5, 10)]


async def test_the_list_of_shown_items_is_capped(running: Running):
    for _ in range(5):
        await running.recommend(num_items=60)
        await running.service.writer.flush()
    assert len(running.world.store.lists[shown_key(KNOWN_USER)]) == ShownPolicy().items


async def test_what_was_shown_is_known_before_redis_knows(running: Running):
    first = await running.recommend(num_items=20)
    assert shown_key(KNOWN_USER) not in running.world.store.lists  # the writer has not been round yet
    second = await running.recommend(num_items=20)
    assert not {item["item_id"] for item in first["items"]} & {item["item_id"] for item in second["items"]}


async def test_broken_metadata_is_left_out(running: Running):
    running.world.store.values["item:item0000"] = b"{torn"
    running.world.store.values["item:item0001"] = b"[1]"
    answer = await running.recommend(num_items=2)
    assert [item["metadata"] for item in answer["items"]] == [{}, {}]


async def test_stale_features_are_flagged(running: Running):
    old = int(time.time() - 3 * 86400)
    running.world.store.values[user_key(KNOWN_USER)] = packed(computed_at=old)
    answer = await running.recommend()
    assert answer["degraded"] == {"level": "L1", "reasons": ["stale_features"], "coverage": 1.0}


async def test_a_row_from_the_future_counts_as_new_and_is_counted(running: Running):
    """After a clock jumped back an hour."""
    before = REGISTRY.get_sample_value("feature_age_negative_total")
    running.world.store.values[user_key(KNOWN_USER)] = packed(computed_at=time.time() + 3600)
    answer = await running.recommend()
    await running.service.log.flush()
    assert answer["degraded"] is None
    (entry,) = running.world.store.logged(IMPRESSIONS)
    assert orjson.loads(entry)["features_age_s"] == 0.0
    assert REGISTRY.get_sample_value("feature_age_negative_total") == before + 1


async def test_a_flushed_redis_is_noticed(running: Running):
    for key in [k for k in running.world.store.values if k not in (TRAFFIC_KEY, popular_key(1))]:
        del running.world.store.values[key]
    await running.service.traffic.refresh()
    answer = await running.recommend()
    assert answer["degraded"]["reasons"] == ["features_absent"]


def at_home() -> bytes:
    """The row of a user of Germany who speaks Danish."""
    row = user_row()
    row[SCHEMA.offset("user_country")], row[SCHEMA.offset("user_language")] = country_code("DE"), language_code("da")
    return packed(row)


@pytest.mark.parametrize(("asked", "seen"), [(None, "DE"), ("NO", "NO")])
async def test_a_request_that_names_no_country_comes_from_home(running: Running, asked: str | None, seen: str):
    """What the model sees must be what it was trained on: an unnamed country is the user's own, not abroad."""
    running.world.store.values[user_key(KNOWN_USER)] = at_home()
    await running.http.post("/v1/recommend", json={"user_id": KNOWN_USER, "country": asked})
    *_, country, context = running.world.triton.inputs[-1]
    assert country.tolist() == [country_code(seen)]
    assert context[SCHEMA.offset("context_country")] == country_code(seen)


@pytest.mark.parametrize(("asked", "seen"), [(None, "da"), ("nb-NO", "nb"), ("gsw", "gsw")])
async def test_a_request_that_names_no_language_is_in_the_users_own(running: Running, asked: str | None, seen: str):
    """A language that has no code is another language, not the user's own."""
    running.world.store.values[user_key(KNOWN_USER)] = at_home()
    await running.http.post("/v1/recommend", json={"user_id": KNOWN_USER, "language": asked})
    context = running.world.triton.inputs[-1][-1]
    assert context[SCHEMA.offset("context_language")] == language_code(seen)


async def test_all_a_request_says_reaches_the_model(running: Running):
    said = {
        "device": "tablet",
        "os": "ios",
        "country": "NO",
        "language": "pt-BR",
        "time_zone": "Asia/Kolkata",
        "placement": "cart",
        "referrer": "email",
        "session_depth": 7,
    }
    before = datetime.now(UTC)
    await running.recommend(**said)
    context = {"system": said.pop("os"), **said}
    served = running.world.triton.inputs[-1][-1]
    possible = [context_array(RequestContext(at=at, **context)) for at in (before, datetime.now(UTC))]
    assert any(served.tobytes() == expected.tobytes() for expected in possible)
    assert not set(np.flatnonzero(served == 0)) & {
        SCHEMA.offset(f"context_{name}") for name in context if name != "time_zone"
    }


async def test_a_user_without_a_history_has_an_empty_one(running: Running):
    values = UserRow(values=user_row(), history=NO_HISTORY, computed_at=int(time.time()))
    running.world.store.values[user_key("fresh")] = pack_user_row(values)
    await running.recommend("fresh")
    np.testing.assert_array_equal(running.world.triton.inputs[-1][1], NO_HISTORY)
