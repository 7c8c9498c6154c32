"""The packed user row: features in their own dtypes and the history, one value per user in Redis; and its keys."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.schema import HISTORY, SCHEMA, USER_WIDTH
from feature_repo.vectors import Floats, Ints, sequence

HEADER = np.dtype([("computed_at", "<i8"), ("entries", "<i8")])
BLOCKS = tuple(
    (
        np.dtype(dtype),
        np.concatenate(
            [np.arange(USER_WIDTH)[SCHEMA.columns(f.name)] for f in SCHEMA.group("user") if f.dtype == name]
        ),
    )
    for dtype, name in (("<f4", "float32"), ("<f2", "float16"), ("<u2", "uint16"), ("u1", "uint8"))
)  # columns of the user array by how they are stored
ENTRY = np.dtype("<i8")
MOST_ACTIVE = 10_000  # users of the list under `active_key`
FIXED = HEADER.itemsize + sum(dtype.itemsize * len(columns) for dtype, columns in BLOCKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """[USER_WIDTH] features, [HISTORY] entries, and the unix second they were computed at, 0 unknown."""

    values: Floats
    history: Ints
    computed_at: int = 0


def pack_user_row(row: UserRow) -> bytes:
    """The row as bytes, little endian: header, blocks by dtype, the history without its padding."""
    if row.values.shape != (USER_WIDTH,):
        raise ValueError(f"user row has shape {row.values.shape}, expected ({USER_WIDTH},)")
    entries = row.history[row.history != 0]
    header = np.array((row.computed_at, len(entries)), HEADER)
    blocks = [row.values[columns].astype(dtype).tobytes() for dtype, columns in BLOCKS]
    return b"".join((header.tobytes(), *blocks, entries.astype(ENTRY).tobytes()))


def unpack_user_row(packed: bytes) -> UserRow:
    """The inverse of `pack_user_row`. Raises ValueError when the length does not fit the schema."""
    if len(packed) < FIXED:
        raise ValueError(f"packed user row has {len(packed)} bytes, expected at least {FIXED}")
    computed_at, entries = np.frombuffer(packed, HEADER, 1)[0].tolist()
    if not 0 <= entries <= HISTORY or len(packed) != FIXED + entries * ENTRY.itemsize:
        raise ValueError(f"packed user row has {len(packed)} bytes and says it holds {entries} history entries")
    values, offset = np.empty(USER_WIDTH, np.float32), HEADER.itemsize
    for dtype, columns in BLOCKS:
        values[columns] = np.frombuffer(packed, dtype, len(columns), offset)
        offset += dtype.itemsize * len(columns)
    history: npt.NDArray[np.int64] = np.frombuffer(packed, ENTRY, entries, offset)
    return UserRow(values=values, history=sequence(history), computed_at=computed_at)


def user_key(user_id: str) -> str:
    """Redis key of a packed user row; carries the schema."""
    return f"user:{SCHEMA.hash}:{user_id}"


def active_key() -> str:
    """Redis key of the most active users' ids, a JSON list, most active first; carries the schema."""
    return f"active:{SCHEMA.hash}"


def marker_key() -> str:
    """Redis key the materialisation writes last, when everything of this schema is there."""
    return f"materialized:{SCHEMA.hash}"


def display_key(item_id: str) -> str:
    """Redis key of what an answer shows of an item."""
    return f"item:{item_id}"
