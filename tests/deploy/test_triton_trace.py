"""Triton's own spans: of the calls that carry a sampled trace context, with the caller's span as their parent."""

import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from deploy.local.runtime import TritonServer
from tests.deploy import echo
from tests.otlp import collecting
from tests.ports import isolated_settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def ask(url: str, **headers: str) -> None:
    tensor = triton.InferInput("X", [1, 4], "FP32").set_data_from_numpy(np.arange(4, dtype=np.float32)[None])
    with triton.InferenceServerClient(url) as client:
        client.infer("echo", [tensor], headers=headers, client_timeout=10)


def test_only_sampled_calls_have_spans(tmp_path: Path) -> None:
    with collecting() as collector:
        settings = isolated_settings(tmp_path, otlp_endpoint=collector.url)
        echo.write_model(settings.runtime_repository, 1)
        with TritonServer(settings, backends=[echo.BACKENDS]):
            echo.load(settings.triton_url)
            ask(settings.triton_url)
            ask(settings.triton_url, traceparent=f"00-{TRACE_ID}-{SPAN_ID}-00")
            ask(settings.triton_url, traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01")
            give_up = time.monotonic() + 20
            while not collector.spans:
                assert time.monotonic() < give_up
                time.sleep(0.05)
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE_ID}
    root = next(span for span in collector.spans if span.parent_span_id.hex() == SPAN_ID)
    assert root.name == "InferRequest"
    assert {span.name for span in collector.spans} >= {"InferRequest", "echo", "compute"}
