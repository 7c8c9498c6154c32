"""User rows through Feast, for users whose packed row is not in Redis. Feast is imported only when this is opened."""

import asyncio
import importlib
from contextlib import suppress
from typing import Any

import structlog

from deploy.settings import Settings
from feature_repo.rows import UserRow
from orchestrator.users import UserRowSource

WARM_UP_USER = "\x00"  # no such user: the first look-up loads the registry and much of Feast
log = structlog.get_logger(__name__)


class FeastRows:
    """A `UserRowSource` over Feast's asynchronous online read."""

    def __init__(self, module: Any, store: Any) -> None:
        self._module = module
        self._store = store

    async def user_row(self, user_id: str) -> UserRow | None:
        """See `UserRowSource`."""
        row: UserRow | None = await self._module.user_row_async(self._store, user_id)
        return row


async def open_feast(settings: Settings) -> UserRowSource | None:
    """Open the feature store in a thread, because importing Feast takes seconds; None when there is none yet."""
    rows = await asyncio.to_thread(_open, settings)
    if rows is not None:
        with suppress(Exception):  # nothing applied yet, or Redis away: the first request will say so
            await rows.user_row(WARM_UP_USER)
    return rows


def _open(settings: Settings) -> UserRowSource | None:
    try:
        module = importlib.import_module("feature_repo.store")
    except ImportError as error:
        log.warning("feature_store_absent", error=str(error))
        return None
    return FeastRows(module, module.open_store(settings))
