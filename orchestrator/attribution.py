"""Which events count for what was recommended, and as what.

An event counts when it names the answer (`request_id`) or its item is in the user's recently-shown list, which any
orchestrator writes and Redis forgets after half an hour. Of one item each outcome counts once in half an hour, however
often the user clicks. Nothing is kept here: all that is needed is read with the batch.
"""

from collections.abc import Iterable

from feature_repo.recent import Action
from feature_repo.served import ENGAGED, EVENT_TYPES
from orchestrator.event_schemas import Event
from orchestrator.outcomes import Count
from orchestrator.rules import Keys

ENGAGING = frozenset(map(EVENT_TYPES.index, ENGAGED))
PURCHASE = EVENT_TYPES.index("purchase")


class Before:
    """One user before the batch, and as it is counted: keys shown, kinds of actions by item since `since` (unix µs)."""

    def __init__(self, shown: Keys, actions: Iterable[Action], since: int) -> None:
        self._shown = frozenset(shown.tolist())
        self._kinds: dict[int, set[int]] = {}
        for action in actions:
            if action.at >= since:
                self._kinds.setdefault(action.key, set()).add(action.kind)

    def count(self, event: Event, action: Action, price: float) -> Count | None:
        """What the event adds; None when it is of nothing that was recommended."""
        kinds = self._kinds.setdefault(action.key, set())
        before = frozenset(kinds)
        kinds.add(action.kind)
        if event.request_id is None and action.key not in self._shown:
            return None
        bought = action.kind == PURCHASE
        return Count(
            engaged=not before,
            clicked=action.kind in ENGAGING and not before & ENGAGING,
            purchased=bought and PURCHASE not in before,
            revenue=price * (event.quantity or 1) if bought else 0.0,
        )
