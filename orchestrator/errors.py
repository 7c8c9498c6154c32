"""Errors by how they are handled; `http_answer` is the one place that turns them into HTTP.

OrchestratorError
├── ClientError                answered to the client: status, code, message, fields; the input is never repeated
│   ├── MalformedError         400 not JSON, not UTF-8, not a query string
│   ├── UnauthorizedError      401 the admin key is missing or wrong
│   ├── AdminOffError          403 no admin key is set, so there are no admin endpoints
│   ├── SlowBodyError          408 the body did not arrive in time
│   ├── TooLargeError          413 more than the documented caps
│   ├── MediaTypeError         415 the body is not declared as JSON
│   └── InvalidError           422 a field is missing, unknown, of a wrong type or out of range
├── GoneError                  nobody is left to answer: the client hung up
├── OverloadedError            429 with Retry-After: refused before any work
├── NotStoredError             503 with Retry-After: an admin's change could not be stored
├── NothingStandsError         503 with Retry-After: no rung of the ladder is left
├── NotStoredError             503 with Retry-After: what was sent is not stored yet; sending it again is safe
└── StageError                 never reaches a client: the answer degrades by one rung
    ├── LateError              the stage's share of the deadline is spent
    ├── CrowdedError           too many requests before this one; others' deadlines come first
    ├── UnavailableError       the peer refuses, is unreachable, or its breaker is open
    ├── UnknownModelError      Triton does not know the model: read the traffic record again, retry once
    └── BadAnswerError         wrong shape, dtype or size, or a non-finite embedding
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field of the input and what is wrong with it, in our words."""

    field: str
    problem: str


class OrchestratorError(Exception):
    """Base of every error the orchestrator raises on purpose."""


class ClientError(OrchestratorError):
    """The request itself is at fault."""

    status: ClassVar[HTTPStatus] = HTTPStatus.BAD_REQUEST
    code: ClassVar[str] = "malformed"

    def __init__(self, message: str, fields: tuple[FieldProblem, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields


class MalformedError(ClientError):
    """Not parseable at all."""


class UnauthorizedError(ClientError):
    """Whoever asks has not shown the admin key."""

    status = HTTPStatus.UNAUTHORIZED
    code = "unauthorized"


class AdminOffError(ClientError):
    """Nobody can show a key that was never set."""

    status = HTTPStatus.FORBIDDEN
    code = "admin_off"


class SlowBodyError(ClientError):
    """The body trickles in."""

    status = HTTPStatus.REQUEST_TIMEOUT
    code = "slow_body"


class TooLargeError(ClientError):
    """Body or query string over the cap."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "too_large"


class MediaTypeError(ClientError):
    """Content type other than application/json."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "unsupported_media_type"


class InvalidError(ClientError):
    """Parseable, but not what the documentation asks for."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "invalid"


class GoneError(OrchestratorError):
    """The client hung up."""


class OverloadedError(OrchestratorError):
    """More requests in flight than the limit."""


class NothingStandsError(OrchestratorError):
    """No traffic record and no popular items."""


class NotStoredError(OrchestratorError):
    """Redis, which has to remember, did not confirm."""


class StageError(OrchestratorError):
    """A stage failed; `reason` is a short token for the answer, the log and the metric."""

    reason: ClassVar[str] = "failed"


class LateError(StageError):
    """No time left, or the stage did not answer within its share."""

    reason = "late"


class CrowdedError(StageError):
    """The queue in front of Triton is too long."""

    reason = "crowded"


class UnavailableError(StageError):
    """Nobody answers there."""

    reason = "unavailable"


class UnknownModelError(StageError):
    """The release was retired under us, or is not loaded yet."""

    reason = "unknown_model"


class BadAnswerError(StageError):
    """An answer that does not fit the contract."""

    reason = "bad_answer"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status, body fields and, where a retry makes sense, after how many seconds."""

    status: int
    code: str
    message: str
    fields: tuple[FieldProblem, ...] = ()
    retry_after: int | None = None


def http_answer(error: Exception) -> HttpAnswer:
    """The HTTP form of any error; what we did not foresee is a 500 that tells nothing."""
    if isinstance(error, ClientError):
        return HttpAnswer(error.status, error.code, error.message, error.fields)
    if isinstance(error, OverloadedError):
        return HttpAnswer(HTTPStatus.TOO_MANY_REQUESTS, "overloaded", "too many requests in flight", retry_after=1)
    if isinstance(error, NothingStandsError):
        return HttpAnswer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "nothing can answer yet", retry_after=2)
    if isinstance(error, NotStoredError):
        return HttpAnswer(HTTPStatus.SERVICE_UNAVAILABLE, "not_stored", "not stored; send it again", retry_after=2)
    return HttpAnswer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "internal error")
