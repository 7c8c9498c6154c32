"""CTR, CVR, engagement, revenue and eCPM with known answers."""

import math

import numpy as np
import pytest

from feature_repo.recent import Action
from feature_repo.served import EVENT_TYPES
from feature_repo.vectors import item_key
from orchestrator.attribution import Before
from orchestrator.event_schemas import Event
from orchestrator.fakes import fake_id
from orchestrator.metrics import exposition
from orchestrator.outcomes import OUTCOMES, SLICE_S, WINDOW_S, Arm, Count
from orchestrator.rules import Keys
from tests.orchestrator.clock import Clock
from tests.orchestrator.conftest import KNOWN_USER, Running

ITEM = item_key("a")


def event(kind: str, **more: object) -> tuple[Event, Action]:
    said = {"event_id": "e", "user_id": "u", "item_id": "a", "event_type": kind} | more
    return Event.model_validate(said), Action(100, ITEM, 1, EVENT_TYPES.index(kind))


def shown(*keys: int) -> Keys:
    return np.array(keys, np.int64)


def test_ratios_are_those_of_the_design() -> None:
    count = Count(shown=200, engaged=20, clicked=10, purchased=2, revenue=30.0)
    assert count.gauges() == (0.05, 0.2, 0.1, 30.0, 150.0)


def test_there_is_no_ratio_of_nothing() -> None:
    ctr, cvr, engagement, revenue, ecpm = Count().gauges()
    assert [math.isnan(value) for value in (ctr, cvr, engagement, ecpm)] == [True] * 4
    assert revenue == 0


def test_a_view_engages_but_is_no_click() -> None:
    before = Before(shown(ITEM), [], 0)
    assert before.count(*event("view"), 0.0) == Count(engaged=1)
    assert before.count(*event("view"), 0.0) == Count()
    assert before.count(*event("add_to_cart"), 0.0) == Count(clicked=1)
    assert before.count(*event("click"), 0.0) == Count()


def test_every_purchase_earns_but_counts_once() -> None:
    before = Before(shown(ITEM), [], 0)
    assert before.count(*event("purchase", quantity=3), 2.5) == Count(engaged=1, clicked=1, purchased=1, revenue=7.5)
    assert before.count(*event("purchase"), 2.5) == Count(revenue=2.5)


def test_what_was_not_shown_counts_only_when_it_names_an_answer() -> None:
    before = Before(shown(item_key("other")), [], 0)
    assert before.count(*event("click"), 0.0) is None
    named = Before(shown(), [], 0)
    assert named.count(*event("click", request_id="r"), 0.0) == Count(engaged=1, clicked=1)


def test_what_was_done_lately_does_not_count_again_and_what_was_done_long_ago_does() -> None:
    click = Action(50, ITEM, 1, EVENT_TYPES.index("click"))
    assert Before(shown(ITEM), [click], since=50).count(*event("click"), 0.0) == Count()
    assert Before(shown(ITEM), [click], since=51).count(*event("click"), 0.0) == Count(engaged=1, clicked=1)


def test_after_an_hour_only_the_counters_remember() -> None:
    clock = Clock()
    arm = Arm(clock)
    arm.add(Count(shown=10, clicked=1))
    clock.now += WINDOW_S / 2
    arm.add(Count(shown=10))
    assert arm.lately() == Count(shown=20, clicked=1)
    clock.now += WINDOW_S / 2 + SLICE_S
    assert arm.lately() == Count(shown=10)
    assert arm.ever == Count(shown=20, clicked=1)


@pytest.mark.anyio
async def test_a_click_on_what_was_shown_moves_the_figures(running: Running) -> None:
    OUTCOMES.keep(())
    await running.recommend(num_items=10)
    await running.service.writer.flush()
    said = {"user_id": KNOWN_USER, "event_type": "click", "item_id": fake_id(0)}
    bought = said | {"event_id": "c", "event_type": "purchase", "price": 4.0}
    events = [
        said | {"event_id": "a"},
        said | {"event_id": "b"},
        bought,
        said | {"event_id": "d", "item_id": "unknown"},
    ]
    assert (await running.http.post("/v1/events", json={"events": events})).status_code == 202
    text = exposition().decode()
    for name, value in {
        "recommendation_ctr": 0.1,
        "recommendation_cvr": 1.0,
        "recommendation_engagement": 0.1,
        "recommendation_revenue_usd": 4.0,
        "recommendation_ecpm_usd": 400.0,
        "recommendation_impressions_total": 10.0,
        "recommendation_earned_usd_total": 4.0,
    }.items():
        assert f'{name}{{model_version="1",variant="champion"}} {value}\n' in text
    assert 'recommendation_outcomes_total{model_version="1",outcome="clicked",variant="champion"} 1.0' in text
    assert 'recommendation_events_total{event_type="click",result="other"}' in text


@pytest.mark.anyio
async def test_a_purchase_without_a_price_is_worth_what_the_catalogue_says(running: Running) -> None:
    OUTCOMES.keep(())
    await running.recommend(num_items=1)
    await running.service.writer.flush()
    said = {"event_id": "a", "user_id": KNOWN_USER, "event_type": "purchase", "item_id": fake_id(0), "quantity": 2}
    assert (await running.http.post("/v1/events", json={"events": [said]})).status_code == 202
    assert 'recommendation_revenue_usd{model_version="1",variant="champion"} 5.0\n' in exposition().decode()


@pytest.mark.anyio
async def test_what_a_client_says_of_release_and_variant_is_no_label(running: Running) -> None:
    said = {"event_id": "a", "user_id": KNOWN_USER, "event_type": "click", "item_id": fake_id(0), "request_id": "r"}
    said |= {"model_version": "666", "variant": "made-up"}
    assert (await running.http.post("/v1/events", json={"events": [said]})).status_code == 202
    assert not {"666", "made-up"} & set(exposition().decode().split('"'))
