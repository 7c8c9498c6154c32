"""The Triton servers of the traffic record behind one `Inference`: a call goes round those that have its release.

A breaker guards each slot of each server: a slow ranker closes the ensemble and leaves the direct call to candidates.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

from model_repository.traffic import ServedModel
from orchestrator.breaker import Breaker
from orchestrator.errors import LateError, UnavailableError
from orchestrator.policy import BreakerPolicy
from orchestrator.triton import Array, Arrays, Call, Connection

Connect = Callable[[str], Connection]


class _Member:
    """One server's connection and its breakers by slot."""

    def __init__(self, client: Connection, policy: BreakerPolicy) -> None:
        self.client = client
        self.breakers: defaultdict[str, Breaker] = defaultdict(lambda: Breaker(policy))


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
        except (LateError, UnavailableError):
            breaker.failed()
            raise
        breaker.succeeded()
        return arrays

    async def ready(self, model: ServedModel, targets: Iterable[str], timeout_s: float) -> bool:
        """Whether one of the servers has the model ready."""
        known = [self._members[target] for target in targets if target in self._members]
        for member in known:
            if await member.client.ready(model, timeout_s):
                return True
        return False

    async def close(self) -> None:
        """Close every connection."""
        await self.keep(())

    def _next(self, call: Call) -> tuple[Connection, Breaker]:
        members = [self._members[target] for target in call.targets if target in self._members]
        self._turn += 1
        for i in range(len(members)):
            member = members[(self._turn + i) % len(members)]
            breaker = member.breakers[call.slot]
            if not breaker.open:
                breaker.admit()
                return member.client, breaker
        raise UnavailableError("no Triton server may be tried")
