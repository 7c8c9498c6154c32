"""What is read of a user in Redis: packed row, cached embedding, lists. A broken value is a miss, never an error."""

from dataclasses import dataclass, field, replace

import numpy as np

from feature_repo.context import LONGEST_SESSION
from feature_repo.recent import Action, unpack_actions
from feature_repo.rows import UserRow, unpack_user_row
from feature_repo.served import EVENT_TYPES
from feature_repo.vectors import USER_DEFAULTS, Floats
from model_repository.contract import EMBEDDING_WIDTH
from orchestrator.metrics import BROKEN, child, imputed
from orchestrator.policy import EventPolicy
from orchestrator.redis_link import Reply
from orchestrator.rules import NO_KEYS, Keys

EMBEDDING_BYTES = 4 * EMBEDDING_WIDTH
TOKEN = slice(16, 24)  # of a packed action: the digest of its event's id
ENTRY_BYTES = (EMBEDDING_BYTES, EMBEDDING_BYTES + 8)  # without and with a token
NO_TOKEN = b""
PURCHASE = EVENT_TYPES.index("purchase")


@dataclass(frozen=True, slots=True)
class Lately:
    """What the user saw and did: keys of items not to be recommended now, actions, the latest event's token."""

    shown: Keys = field(default_factory=lambda: NO_KEYS)
    actions: tuple[Action, ...] = ()
    token: bytes = NO_TOKEN


def shown_key(user_id: str) -> str:
    """Redis list of the keys of items recently shown to the user, 8 bytes each, latest first."""
    return f"shown:{user_id}"


def session_key(user_id: str, session_id: str) -> str:
    """Redis counter of the events of one session of a user."""
    return f"session:{session_id}:{user_id}"


def parse_lately(shown: list[bytes], acted: list[bytes], now: float, policy: EventPolicy) -> Lately:
    """The two lists. What the user dealt with stays away for a while, what was bought for longer."""
    keys = parse_shown(shown)
    if not acted:
        return Lately(keys)
    actions = unpack_actions(acted)
    ends = [a.at / 1e6 + (policy.purchase_hidden_s if a.kind == PURCHASE else policy.hidden_s) for a in actions]
    dealt_with = [action.key for action, end in zip(actions, ends, strict=True) if end > now]
    hidden = np.concatenate([keys, np.array(dealt_with, np.int64)])
    return Lately(hidden, tuple(actions), latest_token(acted))


def latest_token(acted: list[bytes]) -> bytes:
    """The token of the latest of the packed actions."""
    return acted[0][TOKEN].ljust(8, b"\0") if acted else NO_TOKEN


def parse_depth(counted: Reply) -> int:
    """Events of a session so far; 0 for anything that is not a count."""
    return min(int(counted), LONGEST_SESSION) if counted and counted.isdigit() and len(counted) < 18 else 0


def parse_row(packed: Reply) -> UserRow | None:
    """A packed row, non-finite values replaced by their defaults; None when absent or of a wrong length."""
    if not packed:
        return None
    try:
        row = unpack_user_row(packed)
    except ValueError:
        child(BROKEN, "user_row").inc()
        return None
    return finite(row)


def finite(row: UserRow) -> UserRow:
    """The row with every non-finite value replaced by its default; counted by feature."""
    good = np.isfinite(row.values)
    if good.all():
        return row
    imputed(np.flatnonzero(~good).tolist())
    return replace(row, values=np.where(good, row.values, USER_DEFAULTS))


def pack_embedding(embedding: Floats, token: bytes) -> bytes:
    """What is cached: the embedding, and after it the token of the user's latest event when the row was read."""
    return embedding.tobytes() + token


def parse_embedding(cached: Reply, token: bytes) -> Floats | None:
    """A cached embedding [EMBEDDING_WIDTH]; None when absent, of a wrong length, non-finite, or made before an event.

    Whoever writes late what he read before an event writes the token of before, so nobody takes it for current.
    """
    if not cached or (len(cached) in ENTRY_BYTES and cached[EMBEDDING_BYTES:] != token):
        return None
    if len(cached) in ENTRY_BYTES:
        embedding = np.frombuffer(cached, "<f4", EMBEDDING_WIDTH)
        if np.isfinite(embedding).all():
            return embedding
    child(BROKEN, "embedding").inc()
    return None


def parse_shown(recent: list[bytes]) -> Keys:
    """Item keys from the list's entries; entries of another width are left out."""
    if not recent:
        return NO_KEYS
    joined = b"".join([entry for entry in recent if len(entry) == 8])
    return np.frombuffer(joined, "<i8")
