"""Text of a stranger, wherever it may come in: refused or escaped, one line per event, and never a metric's label."""

import re
from urllib.parse import quote

import orjson
import pytest

from feature_repo.served import IMPRESSIONS
from tests.orchestrator.conftest import ADMIN, Running

pytestmark = pytest.mark.anyio
MARK = "Zz9"
HOSTILE = [
    f"{MARK}\r\nx-evil: 1", f"{MARK}\n", f"{MARK}\x00", f"{MARK}\x1b[31m", f"{MARK}\u2028", f"{MARK}\x7f", MARK * 1400,
    f'{MARK}"}}\n# HELP x', f"{MARK}\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), f"{MARK}'--",
]  # fmt: skip
LABEL = re.compile(r'="([^"]*)"')


async def everywhere(running: Running, text: str) -> list[int]:
    """The text as everything that a request can say; the answers' statuses."""
    answers = []
    for name in ("user_id", "exclude", "placement", "country", "time_zone", "num_items", text):
        query = f"user_id=a&{quote(name)}={quote(text)}" if name != "user_id" else f"user_id={quote(text)}"
        answers.append(await running.http.get(f"/recommend?{query}"))
        body = {"user_id": "a", name: [text] if name == "exclude" else text}
        answers.append(await running.http.post("/v1/recommend", json=body))
        answers.append(await running.http.post("/v1/recommend?explain=true", json=body, headers=ADMIN))
    answers.append(await running.http.get(f"/{quote(text)}"))
    answers.append(await running.http.post(f"/v1/recommend?{quote(text)}", json={"user_id": "a"}))
    for name in ("x-request-id", "traceparent", "authorization", "content-type"):
        request = running.http.build_request("POST", "/v1/recommend", json={"user_id": "a"})
        request.headers.raw.append((name.encode(), text.encode()))
        answers.append(await running.http.send(request))
    for answer in answers:
        body = answer.json()
        if answer.status_code != 200:
            assert set(body["error"]) == {"code", "message", "request_id", "fields"}
            assert MARK not in answer.text  # not repeated
        assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])
    return [answer.status_code for answer in answers]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_it_is_refused_or_escaped(running: Running, text: str) -> None:
    statuses = await everywhere(running, text)
    assert set(statuses) <= {200, 400, 404, 413, 422}
    await running.service.log.flush()
    entries = running.world.store.logged(IMPRESSIONS)
    shown = [status for i, status in enumerate(statuses) if status == 200 and not (i < 21 and i % 3 == 2)]
    assert len([orjson.loads(entry) for entry in entries]) == len(shown)  # one each, but for explanations
    assert not re.search(rb"[\x00-\x1f\x7f]", b"".join(entries))
    labels = LABEL.findall((await running.http.get("/metrics")).text)
    assert [label for label in labels if MARK in label or len(label) > 64] == []
