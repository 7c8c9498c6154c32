"""The Triton servers of the traffic record behind one `Inference`: calls go round.

A breaker guards each slot of each server: a slow ranker closes the ensemble and leaves the direct call to candidates.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

from model_repository.traffic import ServedModel
from orchestrator.breaker import Breaker
from orchestrator.errors import LateError, UnavailableError
from orchestrator.policy import BreakerPolicy
from orchestrator.triton import Array, Arrays, Call, Inference

Connect = Callable[[str], Inference]


class _Member:
    """One server's connection and its breakers by slot."""

    def __init__(self, client: Inference, policy: BreakerPolicy) -> None:
        self.client = client
        self.breakers: defaultdict[str, Breaker] = defaultdict(lambda: Breaker(policy))


class Fleet:
    """An `Inference`. `follow` opens and closes connections as endpoints come and go."""

    def __init__(self, connect: Connect, policy: BreakerPolicy) -> None:
        self._connect = connect
        self._policy = policy
        self._members: dict[str, _Member] = {}
        self._turn = 0

    async def follow(self, endpoints: Sequence[str]) -> None:
        """Serve through exactly these endpoints, `host:port`."""
        gone = [self._members.pop(target) for target in list(self._members) if target not in endpoints]
        for target in endpoints:
            if target not in self._members:
                self._members[target] = _Member(self._connect(target), self._policy)
        for member in gone:
            await member.client.close()

    async def infer(self, call: Call, inputs: Sequence[Array], timeout_s: float) -> Arrays:
        """See `Inference`; UnavailableError at once while no server may be tried."""
        client, breaker = self._next(call.slot)
        try:
            arrays = await client.infer(call, inputs, timeout_s)
        except (LateError, UnavailableError):
            breaker.failed()
            raise
        breaker.succeeded()
        return arrays

    async def ready(self, model: ServedModel, timeout_s: float) -> bool:
        """Whether some server has the model ready."""
        for member in list(self._members.values()):
            if await member.client.ready(model, timeout_s):
                return True
        return False

    async def close(self) -> None:
        """Close every connection."""
        await self.follow(())

    def _next(self, slot: str) -> tuple[Inference, Breaker]:
        members = list(self._members.values())
        self._turn += 1
        for i in range(len(members)):
            member = members[(self._turn + i) % len(members)]
            breaker = member.breakers[slot]
            if not breaker.open:
                breaker.admit()
                return member.client, breaker
        raise UnavailableError("no Triton server may be tried")
