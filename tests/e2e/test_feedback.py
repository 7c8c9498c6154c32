"""Recommend → click → the next answer knows, on the real stack: log, history, embedding, figures."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from deploy.local.serve import Platform
from deploy.settings import Settings
from feature_repo.recent import recent_key, unpack_actions
from feature_repo.schema import SCHEMA
from feature_repo.served import EVENTS, FIELD, IMPRESSIONS
from feature_repo.store import connect
from feature_repo.vectors import item_key

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.timeout(900)]
USER = "u00222"


@pytest.fixture
def redis(settings: Settings, stack: Platform) -> Iterator[Any]:
    """A client of the stack's Redis; what the events of the user left there is removed."""
    del stack
    with connect(settings) as client:
        yield client
        mine = [key for key, fields in client.xrange(EVENTS) if orjson.loads(fields[FIELD])["user_id"] == USER]
        client.delete(recent_key(USER), *client.keys(f"embedding:*:{USER}"))
        client.xdel(EVENTS, *mine)


def impressions(redis: Any, *request_ids: str) -> list[dict[str, Any]]:
    """The log's entries of the requests, once they are all there."""
    deadline = time.monotonic() + 10
    while True:
        entries = [orjson.loads(fields[FIELD]) for _, fields in redis.xrange(IMPRESSIONS)]
        found = {entry["request_id"]: entry for entry in entries}
        if all(request_id in found for request_id in request_ids):
            return [found[request_id] for request_id in request_ids]
        assert time.monotonic() < deadline, "the impression log is not written"
        time.sleep(0.05)


def test_the_next_answer_after_a_click_knows_of_it(api: httpx.Client, redis: Any) -> None:
    def ask(request_id: str) -> dict[str, Any]:
        answer = api.get("/recommend", params={"user_id": USER, "num_items": 5}, headers={"x-request-id": request_id})
        assert answer.status_code == 200
        body: dict[str, Any] = answer.json()
        assert body["degraded"] is None
        return body

    def embeddings() -> list[bytes]:
        return [redis.get(key) for key in redis.keys(f"embedding:*:{SCHEMA.hash}:{USER}")]

    clicked = ask("feedback-1")["items"][0]["item_id"]
    first = impressions(redis, "feedback-1")[0]
    time.sleep(0.2)  # the embedding is written after the answer
    (before,) = embeddings()
    event = {"event_id": "e-1", "user_id": USER, "item_id": clicked, "event_type": "click", "request_id": "feedback-1"}
    answer = api.post("/v1/events", json={"events": [event]})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "duplicates": 0})
    assert embeddings() == []
    shown = [item["item_id"] for item in ask("feedback-2")["items"]]
    assert clicked not in shown
    assert api.post("/v1/events", json={"events": [event]}).json() == {"accepted": 0, "duplicates": 1}

    (second,) = impressions(redis, "feedback-2")
    assert first["features"] != second["features"]
    actions = unpack_actions(redis.lrange(recent_key(USER), 0, -1))
    assert [action.key for action in actions] == [item_key(clicked)]
    time.sleep(0.2)
    (after,) = embeddings()
    assert len(after) == len(before) + 8
    logged = [orjson.loads(fields[FIELD]) for _, fields in redis.xrange(EVENTS)]
    assert [entry["item_id"] for entry in logged if entry["user_id"] == USER] == [clicked]
    assert 'recommendation_ctr{model_version="1",variant="champion"}' in api.get("/metrics").text
