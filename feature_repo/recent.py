"""What a user did since the row was computed: entries of a Redis list, and how they join the row's history. Light.

Serving and training both use `merged`, so the history of a request is the same on both sides: the snapshot's, and in
front of it the item-days of what happened after the snapshot and before the request.
"""

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

import numpy as np

from feature_repo.served import EVENT_TYPES, GRADES
from feature_repo.vectors import GRADE_BITS, Ints, history_entry, sequence

MOST = 100  # actions of a user that are kept
ENTRY = Struct("<qqQq")
DAY = 86_400_000_000  # microseconds
GRADE_OF = tuple(GRADES[kind] for kind in EVENT_TYPES)


class Action(NamedTuple):
    """One event: unix microseconds, key of the item, digest of the event's id, place in EVENT_TYPES."""

    at: int
    key: int
    event: int
    kind: int


def recent_key(user_id: str) -> str:
    """Redis list of the user's latest actions, packed, the last that came first."""
    return f"recent:{user_id}"


def pack_action(action: Action) -> bytes:
    """32 bytes, little endian."""
    return ENTRY.pack(*action)


def unpack_actions(entries: Sequence[bytes]) -> list[Action]:
    """The inverse, in the same order; what is not an action is left out."""
    whole = b"".join([entry for entry in entries if len(entry) == ENTRY.size])
    return [action for action in map(Action._make, ENTRY.iter_unpack(whole)) if 0 <= action.kind < len(EVENT_TYPES)]


def merged(history: Ints, actions: Sequence[Action], since: int = 0) -> Ints:
    """The history [HISTORY] with the item-days of the actions after `since` in front, latest first.

    `history` holds everything through `since` (unix microseconds). An item-day under way then is in it already, and
    moves: the training pipeline knows one entry for each item and day.
    """
    days = _item_days(actions)
    after = [(day, last, key, grade) for (day, key), (last, grade) in days.items() if last > since]
    if not after:
        return history
    newer = sorted(after, reverse=True)
    entries = [history_entry(key, grade) for _, _, key, grade in newer]
    today = since // DAY
    begun = {a.key & ~GRADE_BITS for a in actions if a.at <= since and a.at // DAY == today}
    moved = {key for day, _, key, _ in newer if day == today} & begun
    return sequence(np.array(entries + _without_latest(history, moved), np.int64))


def _item_days(actions: Sequence[Action]) -> dict[tuple[int, int], tuple[int, int]]:
    """(day, key) → last moment and highest grade."""
    days: dict[tuple[int, int], tuple[int, int]] = {}
    for at, key, _, kind in actions:
        place = (at // DAY, key & ~GRADE_BITS)
        last, grade = days.get(place, (at, 0))
        days[place] = max(last, at), max(grade, GRADE_OF[kind])
    return days


def _without_latest(history: Ints, keys: set[int]) -> list[int]:
    """The history's entries without the latest one of each of the keys."""
    left, kept = set(keys), []
    for entry in history.tolist():
        key = entry & ~GRADE_BITS
        if key in left:
            left.remove(key)
        else:
            kept.append(entry)
    return kept
