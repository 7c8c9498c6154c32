"""The whole path on real parts: raw events → trained models → Triton → REST."""

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from deploy.local.serve import Platform
from deploy.settings import Settings
from exporters.errors import ExportError
from exporters.golden import Golden
from exporters.manifest import Manifest
from exporters.publish import published
from exporters.repository import install, load
from exporters.server import Server
from exporters.verify import verify
from model_repository.contract import recommend_name
from perf.load import ClosedLoop, Target, drive, known_users
from training.lines import Line, latest

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.timeout(900)]


@pytest.fixture
def line(settings: Settings, stack: Platform) -> Line:
    return latest(settings.lines)


@pytest.fixture
def manifest(settings: Settings, stack: Platform) -> Manifest:
    return verify(settings.releases / "1")


def ask(api: httpx.Client, user: str, **more: object) -> dict[str, object]:
    answer = api.post("/v1/recommend", json={"user_id": user, "num_items": 20, **more})
    assert answer.status_code == 200, answer.text
    body: dict[str, object] = answer.json()
    return body


def item_ids(body: dict[str, object]) -> list[str]:
    items = body["items"]
    assert isinstance(items, list)
    return [item["item_id"] for item in items]


def test_a_thousand_requests_by_sixteen_clients(settings: Settings, stack: Platform) -> None:
    target = Target(host=settings.host, port=settings.api_port, users=known_users(settings))
    outcome = drive(target, ClosedLoop(clients=16, requests=1000, seconds=60, warm_up_s=1))
    assert outcome.statuses == {"200": 1000}
    assert outcome.releases == {"1": 1000}
    assert outcome.degraded == {"none": 1000}


def test_known_user_gets_a_full_answer(api: httpx.Client, stack: Platform) -> None:
    body = ask(api, "u00007", timings=True)
    assert body["degraded"] is None
    assert body["model_version"] == "1"
    assert len(set(item_ids(body))) == 20
    assert {"read", "recommend", "rules"} <= set(body["timings"])  # type: ignore[call-overload]
    first = body["items"][0]  # type: ignore[index]
    assert first["rank"] == 1
    assert first["metadata"]["title"]
    assert set(first["scores"]) == {"relevance", "ctr", "cvr"}


def test_unknown_user_gets_a_cold_start_answer(api: httpx.Client) -> None:
    body = ask(api, "nobody-ever-saw-me", country="DE", device="mobile")
    assert body["degraded"] is None
    assert len(item_ids(body)) == 20


def test_get_and_post_take_the_same_path(api: httpx.Client) -> None:
    body = api.get("/recommend", params={"user_id": "u00011", "num_items": 5}).json()
    assert len(body["items"]) == 5
    assert body["degraded"] is None


def test_what_was_just_shown_is_not_shown_again(api: httpx.Client) -> None:
    first = item_ids(ask(api, "u00021"))
    time.sleep(0.5)  # the list is written after the answer
    assert not set(first) & set(item_ids(ask(api, "u00021")))


def test_excluded_items_stay_away(api: httpx.Client) -> None:
    unwanted = item_ids(ask(api, "u00031"))[:5]
    assert not set(unwanted) & set(item_ids(ask(api, "u00031", exclude=unwanted)))


@pytest.mark.parametrize("country", ["DE", "US", "FR", "JP", None])
def test_nothing_unsellable_is_shown(api: httpx.Client, settings: Settings, country: str | None) -> None:
    catalogue = pq.read_table(settings.tables / "items").to_pandas().set_index("item_id")
    homes = pq.read_table(settings.tables / "users").to_pandas().set_index("user_id")["country"]
    for user in (f"u{number:05d}" for number in range(40, 60)):
        shown = catalogue.loc[item_ids(ask(api, user, country=country))]
        assert shown["in_stock"].all()
        assert shown["is_safe"].all()
        for regions in shown["regions"]:
            assert regions is None or len(regions) == 0 or (country or homes[user]) in regions


def test_users_of_different_tastes_see_different_items(api: httpx.Client) -> None:
    answers = [frozenset(item_ids(ask(api, f"u{user:05d}"))) for user in range(60, 100)]
    counts = Counter(item for answer in answers for item in answer)
    assert len(set(answers)) == len(answers)
    assert counts.most_common(1)[0][1] < len(answers)  # no item is shown to everybody
    assert len(counts) > 60


def test_at_most_three_of_a_category_in_the_first_ten(api: httpx.Client) -> None:
    for user in range(100, 120):
        items = ask(api, f"u{user:05d}")["items"]
        categories = Counter(item["metadata"]["category"] for item in items[:10])  # type: ignore[index]
        assert max(categories.values()) <= 3


def test_every_version_of_the_release_is_ready(settings: Settings, manifest: Manifest) -> None:
    server = Server(settings.triton_url)
    assert all(server.ready(slot.model, slot.version) for slot in manifest.slots.values())
    assert server.ready(recommend_name(1), 1)
    assert not server.ready("candidates", 2)
    assert published(settings) == [1]


def test_triton_scores_are_lightgbms(settings: Settings, manifest: Manifest, line: Line) -> None:
    golden = Golden(manifest=manifest, release=settings.releases / "1")
    figures = golden.check(Server(settings.triton_url))
    assert max(figures["golden_ranker"], figures["golden_scores"]) <= 1e-6
    assert figures["golden_recall"] >= 0.9


def test_publishing_again_leaves_what_is_loaded_alone(settings: Settings, manifest: Manifest) -> None:
    before = {p.pid for p in stubs(settings)}
    server = Server(settings.triton_url)
    install(settings.runtime_repository, settings, manifest, server.loaded())
    load(server, manifest)
    assert {p.pid for p in stubs(settings)} == before


def test_a_changed_contract_is_refused_under_a_name_that_another_holds(settings: Settings, manifest: Manifest) -> None:
    config = settings.runtime_repository / "ranker" / "config.pbtxt"
    content = config.read_text()
    config.write_text(content.replace("dims: 3", "dims: 4"))
    try:
        with pytest.raises(ExportError, match="ranker: another contract holds this name"):
            install(settings.runtime_repository, settings, manifest, Server(settings.triton_url).loaded())
        assert (config.parent / "1" / "checkpoint.tl").is_file()
    finally:
        config.write_text(content)


def test_a_changed_placement_waits_while_the_model_is_loaded(settings: Settings, manifest: Manifest) -> None:
    config = settings.runtime_repository / "ranker" / "config.pbtxt"
    content = config.read_text()
    config.write_text(content.replace("max_batch_size: 8192", "max_batch_size: 4096"))
    install(settings.runtime_repository, settings, manifest, Server(settings.triton_url).loaded())
    assert "4096" in config.read_text()
    install(settings.runtime_repository, settings, manifest, ())
    assert config.read_text() == content


def test_metrics_carry_the_promised_names(api: httpx.Client) -> None:
    ask(api, "u00001")
    text = api.get("/metrics").text
    assert 'recommendation_requests_total{endpoint="/v1/recommend",status="200"}' in text
    assert "recommendation_latency_seconds_bucket{" in text
    assert 'model_predictions_total{model_version="1"}' in text


def test_health_readiness_and_docs(api: httpx.Client) -> None:
    assert [api.get(path).status_code for path in ("/healthz", "/readyz", "/docs")] == [200, 200, 200]


def test_recall_is_measured_beside_popularity_and_oracle(line: Line) -> None:
    retrieval, ranking = line.metrics["retrieval"], line.metrics["ranking"]
    assert 0 < retrieval["popularity_recall_at_100"] < retrieval["oracle_recall_at_100"] <= 1
    assert ranking["ndcg_at_10"] > ranking["popularity_ndcg_at_10"]
    assert ranking["auc"] > 0.6


def stubs(settings: Settings) -> list[psutil.Process]:
    """Triton's python processes of this stack."""
    folder = str(settings.runtime_repository)
    return [p for p in psutil.process_iter(["cmdline"]) if any(folder in part for part in p.info["cmdline"] or [])]


@contextmanager
def unloaded(settings: Settings, *models: str) -> Iterator[None]:
    """The models are gone from Triton inside the block."""
    server = Server(settings.triton_url)
    for model in models:
        server.unload(model)
    try:
        yield
    finally:
        for model in reversed(models):
            server.load(model)


def until_full(api: httpx.Client, users: range, seconds: float = 30.0) -> None:
    """Ask until an answer is whole; another user each time, since what is shown once is not shown again."""
    deadline = time.monotonic() + seconds
    for user in itertools.cycle(users):
        degraded = ask(api, f"u{user:05d}")["degraded"]
        if degraded is None:
            return
        assert time.monotonic() < deadline, f"the path did not recover: {degraded}"
        time.sleep(0.5)


def test_without_the_ensemble_retrieval_order_answers(api: httpx.Client, settings: Settings) -> None:
    with unloaded(settings, recommend_name(1)):
        body = ask(api, "u00130")
    assert body["degraded"]["level"] == "L2"  # type: ignore[index]
    assert len(item_ids(body)) == 20
    until_full(api, range(131, 140))


def test_without_candidates_the_kept_answer_or_popular_items_answer(api: httpx.Client, settings: Settings) -> None:
    before = item_ids(ask(api, "u00140", country="DE"))
    time.sleep(0.5)  # it is kept after the answer
    with unloaded(settings, recommend_name(1), "candidates"):
        known, stranger = ask(api, "u00140", country="DE"), ask(api, "never-saw-me-either", country="DE")
    assert [body["degraded"]["level"] for body in (known, stranger)] == ["L3", "L4"]  # type: ignore[index]
    assert [len(item_ids(body)) for body in (known, stranger)] == [20, 20]
    assert not set(before) & set(item_ids(known))
    until_full(api, range(141, 150))


def test_scores_follow_the_users_tastes(api: httpx.Client, settings: Settings) -> None:
    """The true utility of what is shown is far above that of the catalogue."""
    from datetime import UTC, datetime

    from training.sample.truth import load as truth_of

    truth = truth_of(settings)
    utility = truth.utility(datetime(2026, 10, 1, tzinfo=UTC))
    columns = {item: i for i, item in enumerate(truth.item_ids)}
    better = []
    for row in range(150, 190):
        shown = [columns[item] for item in item_ids(ask(api, str(truth.user_ids[row])))]
        sellable = utility[row][np.isfinite(utility[row])]
        better.append(float((utility[row][shown].mean() > sellable).mean()))
    assert np.mean(better) > 0.65  # 0.5 is what a random order reaches


def test_the_line_carries_what_drift_is_measured_against(stack: Platform, settings: Settings) -> None:
    from training.drift.run import compare

    document = compare(settings, None, "latest", "train", None, None)
    assert document["status"] != "drifted"
    assert document["scores"].keys() == {"relevance", "ctr", "cvr"}
