"""The only code that turns rows (user, item, context) into arrays. Light: numpy and the schema, nothing else."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from feature_repo.schema import CONTEXT_WIDTH, DEVICES, ITEM_WIDTH, PLACEMENTS, SCHEMA, USER_WIDTH, Group, country_code

Floats = npt.NDArray[np.float32]
Texts = Sequence[str | None] | npt.NDArray[np.object_]
ROW_HEADER = np.dtype("<i8")  # unix seconds the row was computed at


def defaults(group: Group) -> Floats:
    """The row of an entity nothing is known about: [width]."""
    return np.concatenate([np.full(f.width, f.default, np.float32) for f in SCHEMA.group(group)])


USER_DEFAULTS = defaults("user")
ITEM_DEFAULTS = defaults("item")


def rows_to_array(group: Group, rows: Iterable[Mapping[str, object]]) -> Floats:
    """Rows by feature name → [n, width] float32. A missing, None or non-finite value becomes the default.

    Raises ValueError naming the feature when a vector has the wrong width or a value is not a number.
    """
    features = SCHEMA.group(group)
    table = [np.concatenate([_value(f.name, f.width, f.default, row.get(f.name)) for f in features]) for row in rows]
    return np.asarray(table, np.float32).reshape(len(table), SCHEMA.width(group))


def columns_to_array(group: Group, columns: Mapping[str, Sequence[object] | npt.NDArray[np.generic]]) -> Floats:
    """Columns by feature name → [n, width] float32; the bulk form of `rows_to_array`, equal value for value."""
    blocks = [_column(f.name, f.width, f.default, columns[f.name]) for f in SCHEMA.group(group)]
    return np.concatenate(blocks, axis=1)


def _value(name: str, width: int, default: float, value: object) -> Floats:
    if value is None:
        return np.full(width, default, np.float32)
    try:
        array = np.atleast_1d(np.asarray(value, np.float32))
    except (TypeError, ValueError):
        raise ValueError(f"feature {name}: {type(value).__name__} is not a number or a list of numbers") from None
    if array.shape != (width,):
        raise ValueError(f"feature {name}: shape {array.shape}, expected ({width},)")
    return np.where(np.isfinite(array), array, np.float32(default))


def _column(name: str, width: int, default: float, column: Sequence[object] | npt.NDArray[np.generic]) -> Floats:
    if width == 1:
        block = np.asarray(column, np.float32)[:, None]
    elif isinstance(column, np.ndarray) and column.shape == (len(column), width):
        block = column.astype(np.float32)
    else:
        block = np.asarray([_value(name, width, default, value) for value in column], np.float32).reshape(-1, width)
    return np.where(np.isfinite(block), block, np.float32(default)).astype(np.float32)


def pack_user_row(values: Floats, computed_at: int) -> bytes:
    """[USER_WIDTH] float32 and the unix second it was computed at → bytes, little endian."""
    if values.shape != (USER_WIDTH,):
        raise ValueError(f"user row has shape {values.shape}, expected ({USER_WIDTH},)")
    return ROW_HEADER.type(computed_at).tobytes() + values.astype("<f4").tobytes()


def unpack_user_row(packed: bytes) -> tuple[Floats, int]:
    """The inverse of `pack_user_row`. Raises ValueError when the length does not fit the schema."""
    expected = ROW_HEADER.itemsize + 4 * USER_WIDTH
    if len(packed) != expected:
        raise ValueError(f"packed user row has {len(packed)} bytes, expected {expected}")
    computed_at = int(np.frombuffer(packed, ROW_HEADER, 1)[0])
    return np.frombuffer(packed, "<f4", offset=ROW_HEADER.itemsize), computed_at


def user_key(user_id: str) -> str:
    """Redis key of a packed user row; carries the schema."""
    return f"user:{SCHEMA.hash}:{user_id}"


def marker_key() -> str:
    """Redis key the materialisation writes last, when everything of this schema is there."""
    return f"materialized:{SCHEMA.hash}"


def display_key(item_id: str) -> str:
    """Redis key of what an answer shows of an item."""
    return f"item:{item_id}"


def item_key(item_id: str) -> int:
    """64-bit identity of an item in tensors: BLAKE2b-8 of the id as a signed integer, never 0 (0 is padding)."""
    key = int.from_bytes(hashlib.blake2b(item_id.encode(), digest_size=8).digest(), "little", signed=True)
    return key or 1


def cold_user(country: str | None) -> Floats:
    """The row of a user without one: defaults, plus what the request says of the country."""
    row = USER_DEFAULTS.copy()
    row[SCHEMA.offset("user_country")] = country_code(country)
    return row


def context_array(
    at: datetime, device: str | None, country: str | None, placement: str | None, position: float = 0.0
) -> Floats:
    """What is known of the request itself: [CONTEXT_WIDTH]. `at` must carry a time zone."""
    moment = at.astimezone(UTC)
    hour = 2 * math.pi * (moment.hour + moment.minute / 60) / 24
    weekday = 2 * math.pi * moment.weekday() / 7
    values = (
        math.sin(hour),
        math.cos(hour),
        math.sin(weekday),
        math.cos(weekday),
        float(moment.weekday() >= 5),
        _index(DEVICES, device),
        country_code(country),
        _index(PLACEMENTS, placement),
        position,
    )
    array = np.array(values, np.float32)
    assert array.shape == (CONTEXT_WIDTH,)
    return array


def context_arrays(
    at: npt.NDArray[np.datetime64], device: Texts, country: Texts, placement: Texts, position: npt.ArrayLike
) -> Floats:
    """The bulk form of `context_array`: n requests → [n, CONTEXT_WIDTH], equal value for value. `at` is UTC."""
    minutes = at.astype("datetime64[m]").astype(np.int64)
    hour = 2 * math.pi * ((minutes // 60) % 24 + (minutes % 60) / 60) / 24
    weekday = (minutes // (60 * 24) + 3) % 7  # 1970-01-01 was a Thursday
    angle = 2 * math.pi * weekday / 7
    columns = (
        np.sin(hour),
        np.cos(hour),
        np.sin(angle),
        np.cos(angle),
        weekday >= 5,
        _codes(device, lambda value: _index(DEVICES, value)),
        _codes(country, country_code),
        _codes(placement, lambda value: _index(PLACEMENTS, value)),
        np.broadcast_to(position, len(minutes)),
    )
    return np.stack([np.asarray(column, np.float32) for column in columns], axis=1)


def _codes(values: Texts, code: Callable[[str | None], float]) -> Floats:
    known = {value: code(value) for value in set(values)}
    return np.array([known[value] for value in values], np.float32)


def _index(vocabulary: tuple[str, ...], value: str | None) -> float:
    return float(vocabulary.index(value)) if value in vocabulary else 0.0


assert USER_DEFAULTS.shape == (USER_WIDTH,)
assert ITEM_DEFAULTS.shape == (ITEM_WIDTH,)
