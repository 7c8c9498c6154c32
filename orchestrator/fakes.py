"""Fakes of what the orchestrator talks to: Redis, Triton, a feature store. For tests and for trying things out.

Each can be told to be late (`delay_s`) or to fail (`failure`), per model slot where that matters.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from feature_repo.rows import UserRow
from feature_repo.vectors import item_key
from model_repository.contract import CANDIDATES, EMBEDDING_WIDTH, EXPLAIN, ITEM_FEATURES, RANKER_FEATURES, RULE_COLUMNS
from model_repository.traffic import ServedModel
from orchestrator.call import Array, Arrays, Call
from orchestrator.errors import LateError, StageError
from orchestrator.redis_link import Command, Reply

ID_BYTES = 8


async def _behave(delay_s: float, failure: StageError | None, timeout_s: float) -> None:
    if delay_s > timeout_s:
        await asyncio.sleep(timeout_s)
        raise LateError("fake")
    if delay_s:
        await asyncio.sleep(delay_s)
    if failure is not None:
        raise failure


@dataclass
class FakeStore:
    """A `Store` over dictionaries: the few commands the orchestrator sends."""

    values: dict[str | bytes, bytes] = field(default_factory=dict)
    lists: dict[str, list[bytes]] = field(default_factory=dict)
    hashes: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    streams: dict[str, list[list[Reply]]] = field(default_factory=dict)  # id and fields of each entry
    delay_s: float = 0.0
    failure: StageError | None = None
    round_trips: list[list[str]] = field(default_factory=list)

    @property
    def available(self) -> bool:
        """See `Store`."""
        return self.failure is None

    async def execute(self, commands: Sequence[Command], timeout_s: float) -> list[Reply]:
        """See `Store`."""
        await _behave(self.delay_s, self.failure, timeout_s)
        self.round_trips.append([str(command[0]) for command in commands])
        replies: list[Reply] = []
        began: int | None = None
        for name, *arguments in commands:
            if name == "MULTI":
                began = len(replies)
            elif name == "EXEC":
                replies[began:] = [b"OK", *[b"QUEUED"] * len(replies[began:]), replies[began:]]
            else:
                replies.append(getattr(self, f"_{str(name).lower()}")(*arguments))
        return replies

    def logged(self, stream: str) -> list[bytes]:
        """The last field of each entry of a stream."""
        return [bytes(fields[-1]) for _, fields in self.streams.get(stream, [])]

    def _get(self, key: str) -> bytes | None:
        return self.values.get(key)

    def _mget(self, *keys: str | bytes) -> list[bytes | None]:
        return [self.values.get(key) for key in keys]

    def _set(self, key: str, value: bytes, *options: str | int) -> bytes | None:
        if "NX" in options and key in self.values:
            return None
        self.values[key] = value
        return b"OK"

    def _del(self, *keys: str) -> int:
        return sum(self.values.pop(key, None) is not None for key in keys)

    def _lpush(self, key: str, *entries: bytes) -> int:
        self.lists[key] = [*reversed(entries), *self.lists.get(key, [])]
        return len(self.lists[key])

    def _ltrim(self, key: str, first: int, last: int) -> bytes:
        self.lists[key] = self.lists[key][first : last + 1]
        return b"OK"

    def _lrange(self, key: str, first: int, last: int) -> list[bytes]:
        return self.lists.get(key, [])[first : last + 1]

    def _incr(self, key: str) -> int:
        self.values[key] = str(int(self.values.get(key, b"0")) + 1).encode()
        return int(self.values[key])

    def _hset(self, key: str, *pairs: bytes | str) -> int:
        texts = [text.encode() if isinstance(text, str) else text for text in pairs]
        self.hashes.setdefault(key, {}).update(zip(texts[::2], texts[1::2], strict=True))
        return len(pairs) // 2

    def _hdel(self, key: str, *names: bytes) -> int:
        return sum(self.hashes.get(key, {}).pop(name, None) is not None for name in names)

    def _hscan(self, key: str, *_: str | int) -> list[Reply]:
        return [b"0", [part for pair in self.hashes.get(key, {}).items() for part in pair]]

    def _xadd(self, key: str, *arguments: str | int | bytes) -> bytes:
        entries = self.streams.setdefault(key, [])
        fields = [part if isinstance(part, bytes) else str(part).encode() for part in arguments[4:]]
        entries.append([f"{len(entries) + 1}-0".encode(), fields])
        return bytes(entries[-1][0])

    def _xread(self, _count: str, count: int, _streams: str, key: str, after: bytes) -> list[Reply] | None:
        entries = [entry for entry in self.streams.get(key, []) if number(entry[0]) > number(after)]
        return [[key.encode(), entries[:count]]] if entries else None

    def _xrevrange(self, key: str, *_: str | int) -> list[Reply]:
        return self.streams.get(key, [])[-1:]

    def _expire(self, key: str, seconds: int) -> int:
        return int((key in self.lists or key in self.values) and seconds > 0)


def number(entry: bytes) -> int:
    """Of a fake stream's entry."""
    return int(entry.partition(b"-")[0])


def fake_id(number: int) -> str:
    """Id of the fake catalogue's item."""
    return f"item{number:04d}"


def fake_outputs(call: Call, items: int = CANDIDATES) -> Arrays:
    """Every output the call wants: item i is fake_id(i) of category i mod 20, and scores fall with i."""
    order = np.arange(CANDIDATES)
    names = [fake_id(i) for i in range(CANDIDATES)]
    falling = (1.0 - order / CANDIDATES).astype(np.float32)
    ids = np.array([name.encode() for name in names]).view(np.uint8).reshape(CANDIDATES, ID_BYTES)
    rules = np.ones((CANDIDATES, len(RULE_COLUMNS)), np.float32)
    rules[:, RULE_COLUMNS.index("category")] = order % 20
    rules[:, RULE_COLUMNS.index("age_days")] = 10.0
    everything: Arrays = {
        "user_embedding": np.full((call.outputs[0].shape[0], EMBEDDING_WIDTH), 0.1, np.float32),
        "item_key": np.array([[item_key(name) for name in names]], np.int64),
        "item_id": ids[None],
        "similarity": falling[None],
        "scores": np.stack([falling, falling / 2, falling / 4], axis=1),
        "rules": rules[None],
        "count": np.array([[items]], np.int32),
        "item_features": np.zeros((1, *ITEM_FEATURES.shape), np.float32),
        "ranker_features": np.repeat(falling[:, None], RANKER_FEATURES.shape[1], axis=1),
        "contributions": np.zeros(EXPLAIN.outputs[0].shape, np.float32),
    }
    return {tensor.name: everything[tensor.name].copy() for tensor in call.outputs}


@dataclass
class FakeInference:
    """A `Connection` that answers from the contract. Keys of the dictionaries are slots: user_tower, recommend, …"""

    delay_s: dict[str, float] = field(default_factory=dict)
    failure: dict[str, StageError] = field(default_factory=dict)
    alter: Callable[[Call, Arrays], Arrays] = lambda call, arrays: arrays  # noqa: ARG005
    items: int = CANDIDATES
    not_ready: set[str] = field(default_factory=set)
    calls: list[tuple[str, int]] = field(default_factory=list)
    inputs: list[list[Array]] = field(default_factory=list)
    cancelled: int = 0
    closed: bool = False

    async def infer(self, call: Call, inputs: Sequence[Array], timeout_s: float) -> Arrays:
        """See `Inference`; the request is encoded as for the real one, so that wrong inputs are noticed."""
        self.calls.append((call.name, call.version))
        self.inputs.append(list(inputs))
        call.encode(inputs)
        try:
            await _behave(self.delay_s.get(call.slot, 0.0), self.failure.get(call.slot), timeout_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.alter(call, fake_outputs(call, self.items))

    async def ready(self, model: ServedModel, timeout_s: float) -> bool:
        """See `Connection`."""
        del timeout_s
        return model[0] not in self.not_ready

    async def close(self) -> None:
        """See `Connection`."""
        self.closed = True


@dataclass
class FakeRows:
    """A `UserRowSource` over a dictionary."""

    rows: dict[str, UserRow] = field(default_factory=dict)
    delay_s: float = 0.0
    failure: Exception | None = None
    asked: list[str] = field(default_factory=list)

    async def user_row(self, user_id: str) -> UserRow | None:
        """See `UserRowSource`."""
        self.asked.append(user_id)
        await asyncio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure
        return self.rows.get(user_id)
