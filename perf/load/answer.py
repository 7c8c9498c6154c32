"""What an answer says of itself: status, release, degraded level; found in the bytes, without reading the items."""

from dataclasses import dataclass
from http import HTTPStatus

import orjson

RELEASE, DEGRADED = b'"model_version":"', b'"degraded":'
FULL, LEVEL = b"null", b'{"level":"'
NONE = "none"
UNDEGRADED = (NONE, "L0")  # the whole path answered, even if with a remark


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is the HTTP status or, without a usable answer, one of the words below; `level` is `none` in full."""

    status: str
    release: str = ""
    level: str = ""


OK = str(int(HTTPStatus.OK))
TIMEOUT = Answer("timeout")  # no whole answer in time
BROKEN = Answer("broken")  # the connection was refused, or ended before the answer did
WRONG = "wrong"  # a 200 that is not what it says of itself
MALFORMED = Answer("malformed")  # not HTTP, or 200 without a recommendation


def read(status: int, body: bytes) -> Answer:
    """What a whole HTTP answer says."""
    if status != HTTPStatus.OK:
        return Answer(str(status))
    return _found(body) or _parsed(body)


def _found(body: bytes) -> Answer | None:
    """The orchestrator's own form: compact JSON, both fields behind the items."""
    release, degraded = body.rfind(RELEASE), body.rfind(DEGRADED)
    if release < 0 or degraded < 0 or not body.endswith(b"}"):
        return None
    start, level = release + len(RELEASE), degraded + len(DEGRADED)
    number = body[start : body.find(b'"', start)].decode()
    if body.startswith(FULL, level):
        return Answer(OK, number, NONE)
    if body.startswith(LEVEL, level):
        level += len(LEVEL)
        return Answer(OK, number, body[level : body.find(b'"', level)].decode())
    return None


def _parsed(body: bytes) -> Answer:
    """Any other form of the same JSON."""
    try:
        said = orjson.loads(body)
        return Answer(OK, str(said["model_version"]), str((said["degraded"] or {"level": NONE})["level"]))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return MALFORMED
