"""What a plan says: cost, autoscalers, reports, where figures come from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from perf.errors import PerfError
from perf.plan.autoscale import autoscalers, manifests
from perf.plan.built import Built, read_built
from perf.plan.page import page
from perf.plan.prices import cost, read_prices
from perf.plan.report import document, markdown, sources, table
from perf.plan.sweep import sweep
from tests.perf.planning import DEMAND, PRICES, PROFILE, cpu, gpu, plans


def test_cost_by_hand() -> None:
    plan = cpu()
    triton, found = plan.pool("triton"), cost(plan, PRICES)
    assert found["triton"] == pytest.approx(
        6 * (8 * 0.1 + triton.memory_gib * 0.01 + triton.disk_gib * 0.001), abs=1e-3
    )
    assert found["orchestrator"] == pytest.approx(11 * (0.1 + 0.01), abs=1e-3)
    assert found["hour"] == pytest.approx(found["triton"] + found["orchestrator"] + found["redis"], abs=2e-3)
    assert found["million_requests"] == pytest.approx(found["hour"] / 25.92, abs=1e-3)
    assert cost(gpu(), PRICES)["triton"] > gpu().pool("triton").replicas * 2


def test_prices_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('currency = "EUR"\ncore = 0.1\nmemory_gib = 0.01\n[gpu]\nh100 = 2.0\n')
    assert read_prices(path).gpu == {"h100": 2.0}
    path.write_text("core = -1\nmemory_gib = 0.01\n")
    with pytest.raises(PerfError, match=r"prices\.toml: core"):
        read_prices(path)
    path.write_text("core = inf\nmemory_gib = 0.01\n")
    with pytest.raises(PerfError, match=r"prices\.toml: core"):
        read_prices(path)
    with pytest.raises(PerfError, match="no price for the GPU h100"):
        cost(gpu(), PRICES.model_copy(update={"gpu": {}}))


def test_autoscalers_hold_what_was_planned() -> None:
    documents = list(yaml.safe_load_all(manifests(cpu())))
    assert [d["metadata"]["name"] for d in documents] == ["trident-orchestrator", "trident-triton"]
    triton = documents[1]["spec"]
    assert triton["metrics"][0]["resource"]["target"]["averageUtilization"] == 60  # 0.8 × 0.9 × 5 of 6
    assert (triton["minReplicas"], triton["maxReplicas"]) == (2, 9)


def test_a_pool_with_gpus_is_scaled_by_its_requests() -> None:
    plan = gpu()
    assert [one.metric for one in autoscalers(plan)] == ["cpu", "requests"]
    triton, pod = plan.pool("triton"), list(yaml.safe_load_all(manifests(plan)))[1]["spec"]["metrics"][0]["pods"]
    assert pod["metric"] == {
        "name": "nv_inference_request_success_per_second",
        "selector": {"matchLabels": {"model": "candidates"}},
    }
    expected = plan.highest_utilisation * 0.9 * 500 * triton.needed / triton.replicas  # one ranker of 2 ms binds
    assert pod["target"] == {"type": "AverageValue", "averageValue": int(expected)}


BUILT = (
    Built(items=100_000, kind="flat", codec="fp32", vector_bytes=520),
    Built(items=10_000_000, kind="ivf", codec="fp16", vector_bytes=264, nlist=4096, nprobe=23),
)


def test_a_built_index_tells_what_a_search_reads(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.json"
    facts = {"kind": "ivf", "codec": "fp16", "nlist": 4096, "nprobe": 23, "bytes_per_item": 264, "items": 10_000_000}
    flat = {"kind": "flat", "codec": "fp32", "nlist": 0, "nprobe": 0, "bytes_per_item": 520, "items": 100_000}
    path.write_text(json.dumps({"sizes": [{"items": one["items"], "index": one} for one in (flat, facts)]}))
    assert read_built(path) == BUILT
    demand = replace(DEMAND, items=5_000_000, built=read_built(path))
    assert demand.scan.scanned_bytes == pytest.approx(5e6 * 23 / 4096 * 264)
    assert replace(demand, items=200_000).scan.scanned_bytes == 200_000 * 520
    assert replace(demand, vector_bytes=136.0).scan.scanned_bytes == pytest.approx(5e6 * 23 / 4096 * 136)
    assert replace(demand, probed=0.5).scan.scanned_bytes == pytest.approx(5e6 * 0.5 * 264)
    assert replace(demand, items=200_000).scan_fp16.nlist > 0


def test_without_a_built_index_it_is_assumed(tmp_path: Path) -> None:
    assert read_built(tmp_path / "none.json") == ()
    assert (DEMAND.scan.vector_bytes, DEMAND.scan.share) == (136, pytest.approx(0.02))
    (tmp_path / "odd.json").write_text("{}")
    with pytest.raises(PerfError, match="holds no catalogue sizes"):
        read_built(tmp_path / "odd.json")


def test_what_is_as_built_is_called_so() -> None:
    def kinds(**changes: object) -> list[object]:
        rows = sources([cpu(replace(DEMAND, **changes))], PROFILE)
        return [row["kind"] for row in rows if str(row["figure"]).startswith(("share of the index", "bytes of an"))]

    assert kinds() == ["assumed", "assumed"]
    assert kinds(built=BUILT) == ["as built", "as built"]
    assert kinds(built=BUILT, probed=0.1) == ["assumed", "as built"]
    assert kinds(built=BUILT, vector_bytes=136.0) == ["as built", "assumed"]


def test_the_reports_stand_alone() -> None:
    both = plans(replace(DEMAND, gpu="h100"), PROFILE)
    text = page(both, list(sweep(both[0].demand, PROFILE)), PROFILE, PRICES)
    assert "data:image/png;base64,iVBOR" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "src=" not in text.replace('src="data:', "")
    assert "H100 SXM" in text
    said = markdown(both, PROFILE, PRICES)
    assert said.startswith("# Capacity for 7,200 requests/s, 1,000,000 items")
    assert "kind: HorizontalPodAutoscaler" in said


def test_what_is_extrapolated_is_called_so() -> None:
    rows = {str(row["figure"]): row["kind"] for row in sources(plans(replace(DEMAND, gpu="h100"), PROFILE), PROFILE)}
    assert rows["CPU of a search"] == "extrapolated"  # a million items, calibrated on 50,000
    assert rows["time of a batch on H100 SXM"] == "extrapolated"
    assert rows["CPU per request by role"] == "measured here"
    small = sources(plans(replace(DEMAND, items=20_000), PROFILE), PROFILE)
    assert next(row["kind"] for row in small if row["figure"] == "CPU of a search") == "measured here"


def test_the_document_is_json() -> None:
    found = json.loads(json.dumps(document(plans(replace(DEMAND, gpu="h100"), PROFILE), PRICES)))
    assert [plan["variant"] for plan in found["plans"]] == ["cpu", "gpu"]
    assert found["plans"][0]["pools"]["triton"]["replicas"] == 6
    assert found["demand"]["rate"] == 7200
    assert found["demand"]["index"]["vector_bytes"] == 136


def test_a_markdown_table() -> None:
    assert table([{"a": 1, "b": None}]) == "| a | b |\n|---|---|\n| 1 |  |"
