"""Availability through the whole stack: said to the API, heard by Triton's candidates and by the orchestrator."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput

from deploy.local.serve import Platform, known_users
from deploy.settings import Settings
from exporters.records import read_ids
from exporters.traffic import TrafficStore
from feature_repo.schema import country_code
from feature_repo.vectors import item_key
from model_repository.contract import EMBEDDING_WIDTH, RULE_COLUMNS
from orchestrator.availability import MOST_CHANGES

pytestmark = pytest.mark.e2e
PRICE = RULE_COLUMNS.index("price")


class Shop:
    """Says things of items, and looks what became of it."""

    def __init__(self, api: httpx.Client, settings: Settings) -> None:
        assert settings.admin_key is not None
        self.api = api
        self._key = {"Authorization": f"Bearer {settings.admin_key.get_secret_value()}"}
        served = TrafficStore(settings).require().releases[-1]
        self._model, self._version = served.candidates
        self._folder = settings.releases / str(served.release) / "candidates"
        self._triton = InferenceServerClient(served.triton[0])
        self._metrics = f"http://{settings.host}:{settings.triton_metrics_port}/metrics"
        self.touched: set[str] = set()

    def say(self, *items: dict[str, Any]) -> None:
        self.touched |= {item["item_id"] for item in items}
        answer = self.api.post("/v1/items/availability", json={"items": items}, headers=self._key)
        assert answer.status_code == 200, answer.text

    def say_of(self, item_ids: Iterable[str], **what: Any) -> None:
        """The same of many items."""
        for batch in batched(item_ids, MOST_CHANGES):
            self.say(*({"item_id": item_id, **what} for item_id in batch))

    def reset(self) -> None:
        self.say_of(sorted(self.touched), reset=True)

    def recommended(self, user_id: str, num_items: int = 20) -> list[str]:
        answer = self.api.get("/recommend", params={"user_id": user_id, "num_items": num_items})
        assert answer.status_code == 200, answer.text
        return [item["item_id"] for item in answer.json()["items"]]

    def everything(self) -> list[str]:
        """Ids of the whole generation."""
        return read_ids(self._folder)

    def metrics(self) -> list[str]:
        """Triton's own."""
        return httpx.get(self._metrics).text.splitlines()

    def sold(self) -> set[int]:
        """Keys of what the generation itself sells everywhere."""
        keys, rules, regions = (np.load(self._folder / f"{name}.npy") for name in ("keys", "rules", "regions"))
        flags = [rules[:, RULE_COLUMNS.index(name)] > 0 for name in ("in_stock", "is_safe")]
        return set(keys[np.logical_and(*flags) & (regions[:, 0] & np.uint64(1)).astype(bool)].tolist())

    def candidates(self, country: str | None = None) -> dict[int, float]:
        """Price by key of what Triton itself answers to the same embedding."""
        embedding = np.full((1, EMBEDDING_WIDTH), EMBEDDING_WIDTH**-0.5, np.float32)
        inputs = [InferInput("user_embedding", embedding.shape, "FP32"), InferInput("country", (1, 1), "INT32")]
        inputs[0].set_data_from_numpy(embedding)
        inputs[1].set_data_from_numpy(np.array([[country_code(country)]], np.int32))
        answer = self._triton.infer(self._model, inputs, str(self._version))
        count = int(answer.as_numpy("count")[0, 0])
        keys, rules = answer.as_numpy("item_key")[0, :count], answer.as_numpy("rules")[0, :count]
        return dict(zip(keys.tolist(), rules[:, PRICE].tolist(), strict=True))


@pytest.fixture
def shop(stack: Platform, api: httpx.Client, settings: Settings) -> Iterator[Shop]:
    """Takes back whatever a test says."""
    shop = Shop(api, settings)
    yield shop
    shop.reset()


def batched(item_ids: Iterable[str], size: int) -> Iterator[list[str]]:
    left = list(item_ids)
    for first in range(0, len(left), size):
        yield left[first : first + size]


def until(true: Callable[[], bool]) -> None:
    """Wait until it is so."""
    give_up = time.monotonic() + 30
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_what_is_withdrawn_is_gone_everywhere_and_comes_back(shop: Shop, settings: Settings) -> None:
    user, fresh, third = known_users(settings, 3)
    best = shop.recommended(user)
    known = {item_key(item_id) for item_id in best}
    before = shop.candidates()
    listed = known & before.keys()
    shop.say_of(best, in_stock=False)
    until(lambda: not known & shop.candidates().keys())
    assert len(shop.candidates()) == min(len(before), len(shop.sold() - known))
    until(lambda: f"items_withdrawn {len(best)}.0" in shop.api.get("/metrics").text)
    for _ in range(5):
        answer = shop.recommended(fresh)
        assert len(answer) == 20
        assert not set(best) & set(answer)
    shop.say_of(best, in_stock=True)
    until(lambda: listed <= shop.candidates().keys())
    until(lambda: "items_withdrawn 0.0" in shop.api.get("/metrics").text)
    assert len(shop.recommended(third)) == 20


def test_prices_and_regions_reach_triton(shop: Shop, settings: Settings) -> None:
    ids = {item_key(item_id): item_id for item_id in shop.recommended(known_users(settings, 4)[3], 100)}
    key = next(key for key in shop.candidates("NO") if key in ids)
    before = shop.candidates("NO")[key]
    shop.say({"item_id": ids[key], "price": 4321.5, "regions": ["NO"]})
    until(lambda: shop.candidates("NO").get(key) == 4321.5)
    until(lambda: key not in shop.candidates("DE"))
    position = next(line for line in shop.metrics() if line.startswith("overlay_position{"))
    assert float(position.split()[-1]) >= 1
    shop.reset()
    until(lambda: shop.candidates("NO").get(key) == before)


def test_a_shop_without_stock_gets_empty_answers_not_errors(shop: Shop, settings: Settings) -> None:
    user = known_users(settings, 5)[4]
    shop.say_of(shop.everything(), in_stock=False)
    until(lambda: not shop.candidates())
    assert shop.recommended(user) == []
    shop.reset()
    until(lambda: len(shop.candidates()) > 0)
    until(lambda: len(shop.recommended(user)) == 20)
