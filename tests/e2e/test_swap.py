"""Two releases in rotated spaces, swapped while requests flow: no request fails, no answer is of both."""

import pytest

from deploy.local.serve import Platform
from deploy.settings import Settings
from perf.swap.measure import measure
from tests.ports import isolated_settings

pytestmark = [
    pytest.mark.e2e, pytest.mark.spark, pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]  # fmt: skip
PORTS = ("api_port", "redis_port", "triton_http_port", "triton_grpc_port", "triton_metrics_port")


def test_no_request_fails_and_no_answer_mixes_releases(settings: Settings, stack: Platform) -> None:
    """The pair is made from the session's line, in a workspace and on ports of its own."""
    others = isolated_settings(settings.home)
    own = settings.model_copy(update={name: getattr(others, name) for name in PORTS})
    measured = measure(own, 3000, None, count=2, rate=15.0, share=0.5, seed=1, report=lambda _: None)
    figures = measured.as_dict()
    assert (figures["swaps"], figures["failed"], figures["mixed"]) == (2, 0, 0)
    assert isinstance(figures["requests"], int)
    assert figures["requests"] > 500
    assert [cycle.release for cycle in measured.swaps.cycles] == [1, 2]
