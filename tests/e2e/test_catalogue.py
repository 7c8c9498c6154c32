"""A synthetic catalogue beside the trained one: made without training, served by a stack of its own."""

import httpx
import lightgbm as lgb
import pytest

from deploy.local.serve import Platform
from deploy.settings import Settings
from exporters.manifest import read
from exporters.verify import verify
from model_repository.contract import COMPONENTS
from perf.catalogue.forest import Trees
from perf.catalogue.make import catalogue_settings, made, make
from perf.errors import PerfError
from perf.stack import serving
from perf.usage import cpu_seconds, resident_mib, spent
from perf.users import user_id
from tests.ports import free_ports
from training.lines import FOREST, latest

pytestmark = pytest.mark.e2e
ITEMS, K, TREES = 2_500, 200, Trees(rounds=10, leaves=8)
ROLES = {"redis", "orchestrator", "triton", *(model.name for model in COMPONENTS)}


def quiet(_: str) -> None:
    pass


def test_a_catalogue_without_a_trained_line_is_refused(settings: Settings) -> None:
    with pytest.raises(PerfError, match="--items is 0"):
        make(settings, 0, quiet)


def test_it_is_served_like_any_release(stack: Platform, settings: Settings) -> None:
    names = ("api_port", "redis_port", "triton_http_port", "triton_grpc_port", "triton_metrics_port", "watchdog_port")
    ports = dict(zip(names, free_ports(6), strict=True))
    folder = make(settings, ITEMS, quiet, candidates=K, trees=TREES)
    target = catalogue_settings(settings, ITEMS, K, TREES).model_copy(update=ports)
    manifest = verify(folder)
    assert (manifest.source, manifest.index.items, manifest.index.candidates) == ("synthetic", ITEMS, K)
    assert manifest.index.recall >= 0.95
    built = (folder / "manifest.json").stat().st_mtime_ns
    assert 0 < made(target).seconds < 3600
    assert make(settings, ITEMS, quiet, candidates=K, trees=TREES) == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == built  # what is there is kept

    forest = lgb.Booster(model_file=str(latest(target.lines).folder / FOREST))
    assert {tree["num_leaves"] for tree in forest.dump_model()["tree_info"]} == {TREES.leaves}
    assert forest.num_trees() == 3 * TREES.rounds

    with serving(target, users=50) as run:
        pids = run.pids()
        assert set(pids) == ROLES
        before = cpu_seconds(pids)
        for number in range(30):
            answer = httpx.get(f"{run.url}/recommend", params={"user_id": user_id(number), "num_items": 5}).json()
            assert (answer["model_version"], answer["degraded"]) == ("1", None)
            assert all(item["item_id"].startswith("s") and item["metadata"]["title"] for item in answer["items"])
        costs = spent(before, cpu_seconds(pids), 30)
        assert costs["orchestrator"] > 0
        assert min(resident_mib(pids).values()) > 1
        assert run.golden["golden_recall"] >= 0.9
    assert read(settings.releases / "1").source == "sample"
    with serving(target) as run:  # again: nothing is published twice
        assert run.golden == {}
        assert httpx.get(f"{run.url}/recommend", params={"user_id": user_id(7)}).json()["degraded"] is None
