"""From bytes on the wire to a `RecommendRequest`, strictly; what is wrong is said in our words, never in theirs."""

import random
import re
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import orjson
from pydantic import BaseModel, ValidationError

from orchestrator.errors import FieldProblem, InvalidError, MalformedError, MediaTypeError, TooLargeError
from orchestrator.schemas import RecommendRequest

BODY_BYTES = 64 * 1024
QUERY_BYTES = 16 * 1024
SAFE_TOKEN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
INTEGERS = ("num_items", "session_depth")
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
MOST_PROBLEMS = 10
M = TypeVar("M", bound=BaseModel)


def request_id(offered: bytes | None) -> str:
    """The caller's id if it is a short safe token, else a new one."""
    if offered is not None and SAFE_TOKEN.fullmatch(offered):
        return offered.decode("ascii")
    return f"{random.getrandbits(64):016x}"


def from_query(query: bytes) -> RecommendRequest:
    """Parse a query string; `exclude` may be given several times. Raises ClientError."""
    if len(query) > QUERY_BYTES:
        raise TooLargeError(f"the query string is longer than {QUERY_BYTES} bytes")
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=600)
    except ValueError:  # UnicodeDecodeError included
        raise MalformedError("the query string is not valid percent-encoded UTF-8") from None
    values: dict[str, Any] = {}
    for name, text in pairs:
        if name == "exclude":
            values.setdefault(name, []).append(text)
        elif name in values:
            raise InvalidError("invalid input", (FieldProblem(_safe(name, RecommendRequest), "given more than once"),))
        else:
            values[name] = _typed(name, text)
    return validate(values, RecommendRequest)


def from_body(body: bytes, model: type[M]) -> M:
    """Parse a JSON body as the model; of a key given twice the last counts. Raises ClientError."""
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise MalformedError("the body is not valid JSON") from None
    if not isinstance(values, dict):
        raise InvalidError("the body must be a JSON object")
    return validate(values, model)


def require_json(content_type: bytes | None) -> None:
    """Raises MediaTypeError unless the body is declared as JSON in UTF-8."""
    media, _, parameters = (content_type or b"").lower().partition(b";")
    charset = parameters.partition(b"charset=")[2].strip(b' "')
    if media.strip() != b"application/json" or charset not in (b"", b"utf-8"):
        raise MediaTypeError("the body must be application/json in UTF-8")


def validate(values: Mapping[str, Any], model: type[M]) -> M:
    """Raises InvalidError naming the fields."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_input=False)[:MOST_PROBLEMS]
        raise InvalidError(
            "invalid input", tuple(_problem(e["loc"], e["type"], e["msg"], model) for e in found)
        ) from None


def _typed(name: str, text: str) -> Any:
    """A query value as the type its field wants, or the text itself, which validation will refuse."""
    if name in INTEGERS and WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if name == "timings":
        return BOOLEANS.get(text, text)
    return text


def _problem(location: tuple[int | str, ...], kind: str, message: str, model: type[BaseModel]) -> FieldProblem:
    if kind == "extra_forbidden":
        known = f"; known: {', '.join(sorted(model.model_fields))}" if len(location) == 1 else ""
        where = ".".join(["(unknown)"] if len(location) == 1 else [*map(str, location[:-1]), "(unknown)"])
        return FieldProblem(where, f"unknown field{known}")
    path = ".".join([_safe(location[0], model), *map(str, location[1:])]) if location else ""
    return FieldProblem(path, message.removeprefix("Value error, "))


def _safe(name: int | str, model: type[BaseModel]) -> str:
    return str(name) if name in model.model_fields else "(unknown)"
