"""The only code that turns rows of features into arrays. Light: numpy and the schema, nothing else."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from feature_repo.schema import SCHEMA, Feature, Group, country_code

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Column = Sequence[object] | npt.NDArray[np.generic]

GRADE_BITS = 3  # the low bits of a history entry that hold the grade
NO_HISTORY: Ints = np.zeros(SCHEMA.width("history"), np.int64)


def rows_to_array(group: Group, rows: Iterable[Mapping[str, object]]) -> Floats:
    """Rows by feature name → [n, width] float32. A missing, None or non-finite value becomes the default.

    Raises ValueError naming the feature when a vector has the wrong width or a value is not a number.
    """
    features = SCHEMA.group(group)
    table = [np.concatenate([_value(f, row.get(f.name)) for f in features]) for row in rows]
    return np.asarray(table, np.float32).reshape(len(table), SCHEMA.width(group))


def columns_to_array(group: Group, columns: Mapping[str, Column]) -> Floats:
    """Columns by feature name → [n, width] float32; the bulk form of `rows_to_array`, equal value for value."""
    return np.concatenate([_column(f, columns[f.name]) for f in SCHEMA.group(group)], axis=1)


def stored(feature: Feature, values: Floats) -> Floats:
    """Values as the feature's dtype can say them, non-finite ones as its default; float32 in and out."""
    finite = np.where(np.isfinite(values), values, np.float32(feature.default))
    if feature.dtype == "float32":
        return finite.astype(np.float32)
    limits = np.finfo(np.float16) if feature.dtype == "float16" else np.iinfo(feature.dtype)
    return np.clip(finite, limits.min, limits.max).astype(feature.dtype).astype(np.float32)


def sequence(entries: Sequence[int] | Ints | None) -> Ints:
    """A user's history as [HISTORY] int64, latest first, padded with 0. None is an empty one."""
    result = NO_HISTORY.copy()
    if entries is not None:
        kept = np.asarray(entries, np.int64)[: len(result)]
        result[: len(kept)] = kept
    return result


def item_key(item_id: str) -> int:
    """64-bit identity of an item in tensors: BLAKE2b-8 of the id as a signed integer, never 0 (0 is padding)."""
    key = int.from_bytes(hashlib.blake2b(item_id.encode(), digest_size=8).digest(), "little", signed=True)
    return key or 1


def history_entry(key: int, grade: int) -> int:
    """What a history holds of a day with an item: its key without the low bits, the grade in them."""
    return (key & ~GRADE_BITS) | grade


def cold_user(country: str | None) -> Floats:
    """The row of a user without one: defaults, plus what the request says of the country."""
    row = USER_DEFAULTS.copy()
    row[SCHEMA.offset("user_country")] = country_code(country)
    return row


def _value(feature: Feature, value: object) -> Floats:
    if value is None:
        return stored(feature, np.full(feature.width, np.nan, np.float32))
    try:
        array = np.atleast_1d(np.asarray(value, np.float32))
    except (TypeError, ValueError):
        raise ValueError(
            f"feature {feature.name}: {type(value).__name__} is not a number or a list of numbers"
        ) from None
    if array.shape != (feature.width,):
        raise ValueError(f"feature {feature.name}: shape {array.shape}, expected ({feature.width},)")
    return stored(feature, array)


def _column(feature: Feature, column: Column) -> Floats:
    if feature.width == 1:
        block = np.asarray(column, np.float32)[:, None]
    elif isinstance(column, np.ndarray) and column.shape == (len(column), feature.width):
        block = column.astype(np.float32)
    else:
        block = np.asarray([_value(feature, value) for value in column], np.float32).reshape(-1, feature.width)
    return stored(feature, block)


def _defaults(group: Group) -> Floats:
    """The row of an entity nothing is known about: [width]."""
    row: Floats = rows_to_array(group, [{}])[0]
    return row


USER_DEFAULTS = _defaults("user")
ITEM_DEFAULTS = _defaults("item")
