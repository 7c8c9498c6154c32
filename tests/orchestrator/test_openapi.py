"""What /openapi.json says is true: schemathesis makes valid and invalid requests of it and checks every answer."""

import time
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from orchestrator.event_schemas import MOST_EVENT_ID_BYTES
from orchestrator.schemas import MOST_ID_BYTES, TIME_ZONES
from tests.orchestrator.conftest import World, patient
from tests.orchestrator.live import live

EXAMPLES = 40  # of each endpoint and mode
POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
MODES = {
    "GET /recommend": (POSITIVE, NEGATIVE),
    "POST /v1/recommend": (POSITIVE, NEGATIVE),
    "POST /v1/events": (POSITIVE, NEGATIVE),
    "POST /v1/items/availability": (NEGATIVE,),
    "GET /healthz": (POSITIVE,),
    "GET /readyz": (POSITIVE,),
    "GET /metrics": (POSITIVE,),
}
PRINTABLE = st.text(min_size=1).filter(lambda text: text.isprintable() and len(text.encode()) <= MOST_ID_BYTES)
schemathesis.openapi.format("identifier", PRINTABLE)
schemathesis.openapi.format("event-id", PRINTABLE.filter(lambda text: len(text.encode()) <= MOST_EVENT_ID_BYTES))
schemathesis.openapi.format("time-zone", st.sampled_from(sorted(TIME_ZONES)))


def proper(value: object) -> object:
    """JSON Schema calls 5.0 an integer, we don't; and it has no word for lately."""
    if isinstance(value, dict):
        return {k: time.time() if k == "at" and isinstance(v, int | float) else proper(v) for k, v in value.items()}
    if isinstance(value, list):
        return [proper(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.BaseSchema]:
    with live(World(tmp_path_factory.mktemp("openapi"), patient(2.0))) as port:
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")


def test_every_endpoint_is_documented(document: schemathesis.BaseSchema):
    assert {result.ok().label for result in document.get_all_operations()} == set(MODES)


@pytest.mark.parametrize(("label", "mode"), [(label, mode) for label, modes in MODES.items() for mode in modes])
def test_no_answer_differs_from_the_document(document: schemathesis.BaseSchema, label: str, mode: GenerationMode):
    method, path = label.split()

    @given(case=document[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def each(case: schemathesis.Case) -> None:
        if mode is POSITIVE and isinstance(case.body, dict):
            case.body = proper(case.body)
        case.call_and_validate()

    each()
