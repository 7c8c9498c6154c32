"""Explanations on real parts: the served forest's own contributions make the served scores."""

import httpx
import lightgbm as lgb
import numpy as np
import pytest

from deploy.local.serve import Platform
from deploy.settings import Settings
from exporters.manifest import read
from exporters.server import Server
from feature_repo.schema import SCHEMA
from model_repository.contract import EXPLAIN, EXPLAINED, OBJECTIVES, RANKER_WIDTH

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.timeout(900)]
# FP32 scores and contributions: 164 terms, each rounded to a few 1e-8; measured: 6e-8.
TOLERANCE = 1e-6


@pytest.fixture
def admin(settings: Settings) -> dict[str, str]:
    assert settings.admin_key is not None
    return {"authorization": f"Bearer {settings.admin_key.get_secret_value()}"}


def explain(api: httpx.Client, admin: dict[str, str], **body: object) -> dict:
    answer = api.post("/v1/recommend", params={"explain": "true"}, json=body, headers=admin)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("user", ["u00301", "nobody-ever-saw-me"])
def test_contributions_make_the_served_scores(api: httpx.Client, admin: dict[str, str], user: str) -> None:
    body = explain(api, admin, user_id=user, num_items=25, country="DE")
    found = body["explanation"]
    assert found["unexplained"] is None
    assert found["difference"] <= TOLERANCE
    for shown, item in zip(body["items"], found["items"], strict=True):
        assert shown["item_id"] == item["item_id"]
        assert sum(item["blend"].values()) * item["freshness"] == pytest.approx(
            shown["score"], abs=4e-6
        )  # five rounded numbers
        for objective in OBJECTIVES:
            one = item["contributions"][objective]
            named = sum(feature["contribution"] for feature in one["features"])
            assert one["bias"] + named + one["others"] == pytest.approx(one["log_odds"], abs=1e-5)
            served = 1 / (1 + np.exp(-one["log_odds"]))
            assert served == pytest.approx(shown["scores"][objective], abs=3e-6)
            assert {feature["feature"] for feature in one["features"]} <= set(SCHEMA.ranker_names)


def test_an_explanation_leaves_no_trace_with_the_user(api: httpx.Client, admin: dict[str, str]) -> None:
    first, again = (explain(api, admin, user_id="u00302", num_items=10) for _ in range(2))
    assert [item["item_id"] for item in first["items"]] == [item["item_id"] for item in again["items"]]


def test_the_served_contributions_are_lightgbms(stack: Platform, settings: Settings) -> None:
    manifest = read(settings.releases / "1")
    slot = manifest.slots[EXPLAIN.name]
    rows = np.load(settings.releases / "1" / "ranker" / "golden_rows.npy")[-EXPLAINED:]
    rows[0, 3] = np.nan
    answer = Server(settings.triton_url).infer(EXPLAIN, slot.model, slot.version, {"ranker_features": rows})
    booster = lgb.Booster(model_file=str(settings.lines / str(manifest.line) / "forest.txt"))
    expected = booster.predict(rows, pred_contrib=True).reshape(EXPLAINED, len(OBJECTIVES), RANKER_WIDTH + 1)
    np.testing.assert_allclose(answer["contributions"], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(expected.sum(axis=2), booster.predict(rows, raw_score=True), atol=1e-9)


def test_without_its_model_the_answer_still_comes(
    api: httpx.Client, admin: dict[str, str], stack: Platform, settings: Settings
) -> None:
    server = Server(settings.triton_url)
    server.unload("explain")
    try:
        body = explain(api, admin, user_id="u00303", num_items=5)
    finally:
        server.load("explain")
    assert len(body["items"]) == 5
    assert body["degraded"] is None
    assert body["explanation"]["unexplained"] in ("unknown_model", "unavailable")


def test_nobody_without_the_key(api: httpx.Client) -> None:
    answer = api.post("/v1/recommend", params={"explain": "true"}, json={"user_id": "u00304"})
    assert answer.status_code == 401
