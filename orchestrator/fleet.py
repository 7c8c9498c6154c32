"""The Triton servers of the traffic record behind one `Inference`: a call goes round those that have its release.

A breaker guards each call on each server: a slow ranker closes the ensemble and leaves the direct call to candidates, a
broken canary leaves the champion alone, and a server that lacks a model is passed over for one that has it.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from weakref import WeakKeyDictionary

from model_repository.traffic import ServedModel
from orchestrator.breaker import Breaker
from orchestrator.call import Array, Arrays, Call
from orchestrator.errors import LateError, UnavailableError, UnknownModelError
from orchestrator.policy import BreakerPolicy
from orchestrator.triton import Connection

Connect = Callable[[str], Connection]


class _Member:
    """One server's connection and its breakers; a breaker lives as long as the plan that makes its call."""

    def __init__(self, client: Connection, policy: BreakerPolicy) -> None:
        self.client = client
        self._policy = policy
        self._breakers: WeakKeyDictionary[Call, Breaker] = WeakKeyDictionary()

    def breaker(self, call: Call) -> Breaker:
        """The call's breaker on this server."""
        if (breaker := self._breakers.get(call)) is None:
            breaker = self._breakers[call] = Breaker(self._policy)
        return breaker


class Fleet:
    """An `Inference`. `open` before a record is adopted, `keep` when no request can need the others any more."""

    def __init__(self, connect: Connect, policy: BreakerPolicy) -> None:
        self._connect = connect
        self._policy = policy
        self._members: dict[str, _Member] = {}
        self._turn = 0

    def open(self, endpoints: Iterable[str]) -> None:
        """Have a connection to each endpoint, `host:port`."""
        for target in endpoints:
            if target not in self._members:
                self._members[target] = _Member(self._connect(target), self._policy)

    async def keep(self, endpoints: Collection[str]) -> None:
        """Close every other connection."""
        gone = [self._members.pop(target) for target in list(self._members) if target not in endpoints]
        for member in gone:
            await member.client.close()

    async def infer(self, call: Call, inputs: Sequence[Array], timeout_s: float) -> Arrays:
        """See `Inference`; UnavailableError at once while no server may be tried."""
        client, breaker = self._next(call)
        try:
            arrays = await client.infer(call, inputs, timeout_s)
        except (LateError, UnavailableError, UnknownModelError):
            breaker.failed()
            raise
        breaker.succeeded()
        return arrays

    async def lacking(self, model: ServedModel, targets: Sequence[str], timeout_s: float) -> list[str]:
        """Those of the servers that don't have the model ready. All are asked at once."""
        states = await asyncio.gather(*(self._ready(model, target, timeout_s) for target in targets))
        return [target for target, ready in zip(targets, states, strict=True) if not ready]

    async def _ready(self, model: ServedModel, target: str, timeout_s: float) -> bool:
        member = self._members.get(target)
        return member is not None and await member.client.ready(model, timeout_s)

    async def close(self) -> None:
        """Close every connection."""
        await self.keep(())

    def _next(self, call: Call) -> tuple[Connection, Breaker]:
        members = [self._members[target] for target in call.targets if target in self._members]
        self._turn += 1
        for i in range(len(members)):
            member = members[(self._turn + i) % len(members)]
            breaker = member.breaker(call)
            if not breaker.open:
                breaker.admit()
                return member.client, breaker
        raise UnavailableError("no Triton server may be tried")
