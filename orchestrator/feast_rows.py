"""User rows through Feast, for users whose packed row is not in Redis. Feast is imported only when this is opened."""

import asyncio
import importlib
from typing import Any

import structlog

from deploy.settings import Settings
from orchestrator.users import UserRow, UserRowSource

log = structlog.get_logger(__name__)


class FeastRows:
    """A `UserRowSource` over Feast's asynchronous online read."""

    def __init__(self, module: Any, store: Any) -> None:
        self._module = module
        self._store = store

    async def user_row(self, user_id: str) -> UserRow | None:
        """See `UserRowSource`."""
        values = await self._module.user_row_async(self._store, user_id)
        return None if values is None else UserRow(values=values)


async def open_feast(settings: Settings) -> UserRowSource | None:
    """Open the feature store in a thread, because importing Feast takes seconds; None when there is none yet."""
    return await asyncio.to_thread(_open, settings)


def _open(settings: Settings) -> UserRowSource | None:
    try:
        module = importlib.import_module("feature_repo.store")
    except ImportError as error:
        log.warning("feature_store_absent", error=str(error))
        return None
    return FeastRows(module, module.open_store(settings))
