"""Events on fakes: taken once, refused as a whole, in effect before the answer, never lost in silence."""

import asyncio
import time
from base64 import b64decode

import httpx
import numpy as np
import orjson
import pytest

from feature_repo.recent import recent_key
from feature_repo.schema import SCHEMA
from feature_repo.served import EVENTS, IMPRESSIONS
from feature_repo.vectors import history_entry, item_key
from model_repository.traffic import TRAFFIC_KEY
from orchestrator.errors import LateError, UnavailableError
from orchestrator.event_schemas import EVENTS_BYTES, MOST_EVENTS
from orchestrator.fakes import fake_id
from orchestrator.impression import sampled
from orchestrator.policy import EventPolicy, LogPolicy
from orchestrator.redis_link import Command, Reply
from tests.orchestrator.conftest import KNOWN_USER, Running, World, history, patient, record, served

pytestmark = pytest.mark.anyio
DEPTH = SCHEMA.offset("context_session_depth")


def click(event_id: str = "e1", item: int = 7, **more: object) -> dict[str, object]:
    return {"event_id": event_id, "user_id": KNOWN_USER, "item_id": fake_id(item), "event_type": "click", **more}


async def send(running: Running, *events: dict[str, object]) -> httpx.Response:
    return await running.http.post("/v1/events", json={"events": list(events)})


async def taken(running: Running, *events: dict[str, object]) -> tuple[int, int]:
    """(accepted, duplicates); anything but 202 fails the test."""
    answer = await send(running, *events)
    assert answer.status_code == 202, answer.text
    return answer.json()["accepted"], answer.json()["duplicates"]


def logged(running: Running) -> list[dict]:
    return [orjson.loads(entry) for entry in running.world.store.logged(EVENTS)]


def seen_history(running: Running) -> list[int]:
    """The history that the last ranking was asked with."""
    return [entry for entry in running.world.triton.inputs[-1][1].tolist() if entry]


async def test_an_event_is_in_the_log_with_all_its_fields(running: Running):
    before = time.time()
    said = click(
        request_id="r-1", price=2.5, quantity=3, model_version="1", variant="champion", device="tv", session_id="s"
    )
    assert await taken(running, said) == (1, 0)
    (entry,) = logged(running)
    assert before <= entry.pop("received_at") <= time.time()
    assert before <= entry.pop("at") <= time.time()
    assert len(entry.pop("instance")) == 12
    assert entry == said | {"seq": 1}


async def test_what_is_left_out_is_null(running: Running):
    await taken(running, click(at=time.time() - 60))
    (entry,) = logged(running)
    fields = {"request_id", "price", "quantity", "model_version", "variant", "device", "session_id"}
    assert {name for name, value in entry.items() if value is None} == fields


async def test_the_same_id_again_changes_nothing(running: Running):
    assert await taken(running, click()) == (1, 0)
    assert await taken(running, click(item=8), click("e2", item=9), click("e2", item=9)) == (1, 2)
    assert [entry["item_id"] for entry in logged(running)] == [fake_id(7), fake_id(9)]
    assert len(running.world.store.lists[recent_key(KNOWN_USER)]) == 2


async def test_another_users_event_of_the_same_id_is_another_event(running: Running):
    assert await taken(running, click(), click(user_id="b")) == (2, 0)


async def test_two_round_trips_whatever_the_size(running: Running):
    running.world.store.round_trips.clear()
    assert await taken(running, *(click(f"e{n}", item=n % 20, user_id=f"u{n % 9}") for n in range(100))) == (100, 0)
    writes = [trip for trip in running.world.store.round_trips if "XADD" in trip or "SET" in trip]
    assert len(writes) == 2
    assert (writes[1][0], writes[1][-1]) == ("MULTI", "EXEC")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"event_id": ""}, "events.0.event_id"),
        ({"event_id": "é" * 33}, "events.0.event_id"),
        ({"event_id": "a\nb"}, "events.0.event_id"),
        ({"event_type": "impression"}, "events.0.event_type"),
        ({"at": 1e999}, "events.0.at"),
        ({"at": "now"}, "events.0.at"),
        ({"at": True}, "events.0.at"),
        ({"price": -1.0}, "events.0.price"),
        ({"quantity": 0}, "events.0.quantity"),
        ({"quantity": 2.0}, "events.0.quantity"),
        ({"user_id": ""}, "events.0.user_id"),
        ({"item_id": None}, "events.0.item_id"),
        ({"request_id": "a b"}, "events.0.request_id"),
        ({"session_id": "a\r\nb"}, "events.0.session_id"),
        ({"shoe_size": 43}, "events.0.(unknown)"),
    ],
    ids=str,
)
async def test_a_bad_field_refuses_the_batch_by_name(running: Running, change: dict[str, object], field: str):
    content = orjson.dumps({"events": [click() | change, click("e2")]}).replace(b'"at":null', b'"at":1e999')
    answer = await running.http.post("/v1/events", content=content, headers={"content-type": "application/json"})
    if b"1e999" in content and answer.status_code == 400:
        return  # no JSON: fine as well
    assert answer.status_code == 422
    assert [problem["field"] for problem in answer.json()["error"]["fields"]] == [field]
    assert logged(running) == []


@pytest.mark.parametrize(("seconds", "status"), [(240, 202), (360, 422), (-6 * 86_400, 202), (-8 * 86_400, 422)])
async def test_an_event_is_neither_of_the_future_nor_too_old(running: Running, seconds: float, status: int):
    answer = await send(running, click(), click("e2", at=time.time() + seconds))
    assert answer.status_code == status
    if status == 422:
        assert [problem["field"] for problem in answer.json()["error"]["fields"]] == ["events.1.at"]
        assert logged(running) == []


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{}", 422),
        (b'{"events":[]}', 422),
        (b'{"events":{}}', 422),
        (b"[", 400),
        (orjson.dumps({"events": [click(str(n)) for n in range(MOST_EVENTS + 1)]}), 422),
        (b'{"events":"' + b"a" * EVENTS_BYTES + b'"}', 413),
    ],
    ids=["none", "empty", "object", "torn", "too many", "too large"],
)
async def test_bad_batches(running: Running, content: bytes, status: int):
    answer = await running.http.post("/v1/events", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text


async def test_as_many_as_allowed_with_long_words_fit(running: Running):
    batch = [
        click(f"{n:04d}" + "i" * 60, user_id="u" * 100, item_id="é" * 128, request_id="r" * 64)
        for n in range(MOST_EVENTS)
    ]
    assert await taken(running, *batch) == (MOST_EVENTS, 0)


async def test_without_redis_the_client_is_asked_to_send_again(running: Running):
    running.world.store.failure = UnavailableError("redis")
    answer = await send(running, click())
    assert answer.status_code == 503
    assert (answer.headers["retry-after"], answer.json()["error"]["code"]) == ("2", "not_stored")
    running.world.store.failure = None
    assert await taken(running, click()) == (1, 0)


async def test_redis_that_dies_between_the_round_trips_loses_nothing(running: Running):
    """The ids are claimed, then Redis goes. They must not count as duplicates later."""
    store = running.world.store
    plain = store.execute

    async def execute(commands: list[Command], timeout_s: float) -> list[Reply]:
        if commands[0][0] == "MULTI":
            raise UnavailableError("redis")
        return await plain(commands, timeout_s)

    store.execute = execute  # type: ignore[method-assign]
    assert (await send(running, click())).status_code == 503
    store.execute = plain  # type: ignore[method-assign]
    assert (await send(running, click())).status_code == 503  # the claim still stands: somebody may be writing it
    (claim,) = (key for key in store.values if isinstance(key, bytes))
    del store.values[claim]  # it ended
    assert await taken(running, click()) == (1, 0)
    assert len(logged(running)) == 1


async def test_an_event_whose_confirmation_got_lost_is_written_once(running: Running):
    store = running.world.store
    plain = store.execute

    async def execute(commands: list[Command], timeout_s: float) -> list[Reply]:
        replies = await plain(commands, timeout_s)
        if commands[0][0] == "MULTI":
            raise LateError("redis")
        return replies

    store.execute = execute  # type: ignore[method-assign]
    assert (await send(running, click())).status_code == 503
    store.execute = plain  # type: ignore[method-assign]
    assert await taken(running, click()) == (0, 1)
    assert len(logged(running)) == 1


async def test_a_transaction_that_fails_inside_is_not_taken(running: Running):
    store = running.world.store
    plain = store.execute

    async def execute(commands: list[Command], timeout_s: float) -> list[Reply]:
        replies = await plain(commands, timeout_s)
        if commands[0][0] == "MULTI":
            replies[-1] = [*replies[-1][:-1], ValueError("WRONGTYPE")]
        return replies

    store.execute = execute  # type: ignore[method-assign]
    assert (await send(running, click())).status_code == 503
    store.execute = plain  # type: ignore[method-assign]
    assert await taken(running, click()) == (1, 0)


async def test_one_batch_more_than_the_limit_is_refused(world: World):
    world.policy = patient(2.0, events=EventPolicy(max_in_flight=1))
    world.store.delay_s = 0.05
    service = world.service()
    await service.start()
    async with world.client(service) as http:
        batches = [{"events": [click(f"e{n}")]} for n in range(3)]
        answers = await asyncio.gather(*(http.post("/v1/events", json=batch) for batch in batches))
    assert sorted(answer.status_code for answer in answers) == [202, 429, 429]
    await service.stop()


async def test_a_click_is_in_the_history_of_the_next_answer(running: Running):
    await running.recommend()
    assert seen_history(running) == [entry for entry in history().tolist() if entry]
    await taken(running, click("e1", item=7), click("e2", item=8, event_type="purchase"))
    await running.recommend()
    newest = [history_entry(item_key(fake_id(8)), 3), history_entry(item_key(fake_id(7)), 1)]
    assert sorted(seen_history(running)[:2]) == sorted(newest)
    assert seen_history(running)[2:] == [entry for entry in history().tolist() if entry]
    await running.service.log.flush()
    digests = [orjson.loads(line)["features"] for line in running.world.store.logged(IMPRESSIONS)]
    assert digests[0] != digests[1]


async def test_a_new_user_is_ranked_by_what_he_just_did(running: Running):
    await taken(running, click(user_id="fresh"))
    answer = await running.recommend("fresh")
    assert answer["degraded"] is None
    assert seen_history(running) == [history_entry(item_key(fake_id(7)), 1)]


async def test_what_the_user_dealt_with_is_not_recommended_for_a_while(running: Running):
    now = time.time()
    await taken(
        running,
        click("now", item=0, event_type="view"),
        click("hour", item=1, at=now - 3600),
        click("bought", item=2, event_type="purchase", at=now - 3600),
        click("day", item=3, event_type="purchase", at=now - 25 * 3600),
    )
    items = [item["item_id"] for item in (await running.recommend(num_items=4))["items"]]
    assert items == [fake_id(n) for n in (1, 3, 4, 5)]


async def test_the_session_is_as_deep_as_it_has_events(running: Running):
    await taken(running, *(click(f"e{n}", session_id="one") for n in range(3)), click("other", session_id="two"))
    depths = []
    for said in ({}, {"session_id": "one"}, {"session_id": "none"}, {"session_id": "one", "session_depth": 9}):
        await running.recommend(**said)
        depths.append(running.world.triton.inputs[-1][-1][DEPTH])
    assert depths == [0, 3, 0, 9]


async def test_the_cached_embedding_of_every_release_is_dropped(running: Running):
    store, prefix = running.world.store, f"embedding:{{}}:{SCHEMA.hash}:{KNOWN_USER}"
    store.values[TRAFFIC_KEY] = record(served(1), served(2, line=2, digest="other"), sequence=2)
    await running.service.traffic.refresh()
    for tower in ("tower", "other", "retired"):
        store.values[prefix.format(tower)] = np.full(128, 0.1, np.float32).tobytes()
    await taken(running, click())
    assert [tower for tower in ("tower", "other", "retired") if prefix.format(tower) in store.values] == ["retired"]


async def test_after_an_event_the_embedding_is_made_anew_and_then_kept(running: Running):
    for _ in range(2):
        await running.recommend()
        await running.service.writer.flush()
    await taken(running, click())
    for _ in range(2):
        await running.recommend()
        await running.service.writer.flush()
    towers = [name for name, _ in running.world.triton.calls if name == "user_tower"]
    assert len(towers) == 2


async def test_an_embedding_written_back_after_an_event_is_not_used(running: Running):
    """An answer on its way read the user before the event and writes after it, from any orchestrator."""
    await running.recommend()  # its embedding waits in the queue
    await taken(running, click())
    await running.service.writer.flush()
    running.world.triton.calls.clear()
    await running.recommend()
    assert ("user_tower", 1) in running.world.triton.calls


async def test_an_answer_under_way_during_an_event_is_not_remembered(running: Running):
    """Redis goes away right afterwards: the memory of before the event must not be what answers."""
    running.world.triton.delay_s["user_tower"] = 0.1
    under_way = asyncio.create_task(running.recommend())
    await asyncio.sleep(0.05)
    await taken(running, click())
    await under_way
    running.world.store.failure = UnavailableError("redis")
    answer = await running.recommend()
    assert answer["degraded"]["reasons"] == ["redis_unavailable"]
    assert running.service.users._memory.get(KNOWN_USER) is None


async def test_after_the_next_answer_the_user_is_remembered_with_his_event(running: Running):
    await taken(running, click())
    await running.recommend()
    running.world.store.failure = UnavailableError("redis")
    await running.recommend()
    assert history_entry(item_key(fake_id(7)), 1) in seen_history(running)


async def test_broken_lists_cost_an_event_not_an_answer(running: Running):
    store = running.world.store
    store.lists[recent_key(KNOWN_USER)] = [b"torn", b"", b"x" * 32, b"y" * 33]
    answer = await running.recommend()
    assert answer["degraded"] is None
    assert seen_history(running) == [entry for entry in history().tolist() if entry]


async def test_raw_inputs_are_logged_for_the_share_asked_for(world: World):
    world.policy = patient(2.0, log=LogPolicy(inputs=1.0))
    service = world.service()
    await service.start()
    async with world.client(service) as http:
        await http.get("/recommend", params={"user_id": KNOWN_USER, "num_items": 2})
    await service.stop()
    (entry,) = map(orjson.loads, world.store.logged(IMPRESSIONS))
    row, entries, _, _, context = world.triton.inputs[-1]
    decoded = {name: b64decode(entry["inputs"][name]) for name in ("user", "history", "context")}
    assert decoded == {"user": row.tobytes(), "history": entries.tobytes(), "context": context.tobytes()}
    assert entry["inputs"]["schema"] == SCHEMA.hash
    assert np.array(entry["inputs"]["scores"]).shape == (2, 3)
    assert entry["inputs"]["scores"][0] == pytest.approx([1.0, 0.5, 0.25])


async def test_one_in_a_hundred_answers_carries_its_inputs(running: Running):
    assert sum(sampled(f"r{n}", 0.01) for n in range(20_000)) == pytest.approx(200, rel=0.3)
    assert not any(sampled(f"r{n}", 0.0) for n in range(1000))
    assert all(sampled(f"r{n}", 1.0) for n in range(1000))
