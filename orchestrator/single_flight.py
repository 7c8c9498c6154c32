"""One computation for everybody who wants the same value at the same moment: the guard against a stampede."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from orchestrator.errors import LateError

V = TypeVar("V")


class SingleFlight(Generic[V]):
    """The first who asks for a key computes it; the others wait for that. Event-loop local, nothing is kept."""

    def __init__(self) -> None:
        self._flights: dict[str, asyncio.Future[V]] = {}

    async def get(self, key: str, work: Callable[[], Coroutine[Any, Any, V]], timeout_s: float) -> V:
        """The value, or the first one's error. LateError after `timeout_s`, or when the first one was cancelled."""
        flight = self._flights.get(key)
        if flight is None:
            return await self._lead(key, work)
        await asyncio.wait((flight,), timeout=timeout_s)
        if not flight.done() or flight.cancelled():
            raise LateError("somebody else's computation")
        return flight.result()

    async def _lead(self, key: str, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            value = await work()
        except asyncio.CancelledError:
            flight.cancel()
            raise
        except Exception as error:
            flight.set_exception(error)
            flight.exception()  # there may be nobody who waits for it
            raise
        else:
            flight.set_result(value)
            return value
        finally:
            del self._flights[key]
