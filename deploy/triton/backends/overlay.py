"""What is said of items in real time, on top of every generation until it is taken back: how it lies in Redis.

    {overlay}:in_stock  is_safe  price  regions   hashes {item key, 8 bytes: value}, the compacted state
    {overlay}:stream                              the latest batches, one entry each, trimmed behind that state
    {overlay}:sequence                            how many batches were ever written: the position

A batch is one transaction and sets fields, so writers need to read nothing and the later of two wins field by field.
Who follows reads the state once, then what came after it. The sequence tells whether anything is missing: entries that
were trimmed away, or a Redis that lost its data; then the state is read again.

Reading is written without I/O, as generators that yield commands and are sent the replies (RESP2, bytes), because the
orchestrator reads asynchronously and Triton's stubs do not. `run` drives one over a blocking connection.
"""  # fmt: skip

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

IN_STOCK, IS_SAFE, PRICE, REGIONS = ATTRIBUTES = ("in_stock", "is_safe", "price", "regions")
SEQUENCE, STREAM, ENTRY = "{overlay}:sequence", "{overlay}:stream", "changes"
KEPT = 200  # batches in the stream; who is further behind reads the state again
PAGE = 1000  # of the state in one round trip
BATCHES = 20  # in one round trip
FIRST_ENTRY = b"0-0"
TRIMMED, LOST = "trimmed", "lost"
LONGEST = 8192  # of a value: all the countries there are
MOST_PRICE = 1e12

Value = bool | float | frozenset[int]
Changes = dict[str, dict[int, Value | None]]  # by attribute, by item key; None takes back what was said
Command = tuple[str | bytes | int, ...]
Reply = Any  # bytes, int, None, an exception for what was refused, or a list of these
Steps = Generator[Sequence[Command], Sequence[Reply], "Read"]


class OverlayError(ValueError):
    """Redis refused to read or holds something else under our keys."""


@dataclass(frozen=True, slots=True)
class Position:
    """After so many batches, the last of which is this entry of the stream."""

    sequence: int = 0
    entry: bytes = FIRST_ENTRY


@dataclass(slots=True, kw_only=True)
class Read:
    """What a follower learnt. `complete`: everything there is, so that anything else was taken back. `lost`: everything
    that a Redis which lost its data still has. `broken`: entries and values that could not be read and are left out."""

    position: Position = Position()
    changes: Changes = field(default_factory=lambda: {name: {} for name in ATTRIBUTES})
    complete: bool = False
    lost: bool = False
    broken: int = 0

    def take(self, name: str, key: int, text: str | None) -> None:
        """Note one value, in place of any before it."""
        try:
            self.changes[name][key] = None if text is None else _parse(name, text)
        except (KeyError, ValueError):
            self.broken += 1


def state_key(name: str) -> str:
    """Redis key of an attribute's hash."""
    return f"{{overlay}}:{name}"


def write(changes: Changes) -> list[Command]:
    """One batch, all of it or nothing. The last reply is EXEC's, whose first is the position."""
    texts = {name: {key: _text(value) for key, value in values.items()} for name, values in changes.items() if values}
    entry = json.dumps(texts, separators=(",", ":"))
    commands: list[Command] = [("MULTI",), ("INCR", SEQUENCE), ("XADD", STREAM, "MAXLEN", "~", KEPT, "*", ENTRY, entry)]
    for name, values in texts.items():
        if said := [part for key, text in values.items() if text is not None for part in (_packed(key), text)]:
            commands.append(("HSET", state_key(name), *said))
        if taken := [_packed(key) for key, text in values.items() if text is None]:
            commands.append(("HDEL", state_key(name), *taken))
    return [*commands, ("EXEC",)]


def written(replies: Sequence[Reply]) -> int:
    """The position that a batch reached. Raises OverlayError where it was not written."""
    for reply in _sound(replies[-1]):
        _sound(reply)
    return int(replies[-1][0])


def read(position: Position | None, names: Sequence[str] = ATTRIBUTES) -> Steps:
    """What came after a position; everything there is where that is None or where something is missing.

    A Redis that lost its data takes nothing back: what was withdrawn stays so. Raises OverlayError.
    """
    found = "" if position is None else (yield from _read_on(position))
    if isinstance(found, Read):
        return found
    everything = yield from _read_all(names)
    everything.lost = found == LOST
    everything.complete = not everything.lost
    return everything


def run(steps: Steps, execute: Callable[[Sequence[Command]], Sequence[Reply]]) -> Read:
    """Read over a connection that answers each list of commands by the list of their replies."""
    commands = next(steps)
    while True:
        try:
            commands = steps.send(execute(commands))
        except StopIteration as end:
            read: Read = end.value
            return read


def _read_on(position: Position) -> Generator[Sequence[Command], Sequence[Reply], Read | str]:
    """The batches since, unless there are fewer than the sequence promises, or more: then it went back."""
    found = Read(position=position)
    while True:
        after = ("XREAD", "COUNT", BATCHES, "STREAMS", STREAM, found.position.entry)
        replies = yield (("MULTI",), ("GET", SEQUENCE), after, ("EXEC",))
        promised, streams = _answered(replies)
        entries = streams[0][1] if streams else []
        reached = found.position.sequence + len(entries)
        if reached > promised:
            return LOST
        if reached < promised and len(entries) < BATCHES:
            return TRIMMED
        for _, fields in entries:
            _take_entry(found, fields)
        if entries:
            found.position = Position(reached, entries[-1][0])
        if reached == promised:
            return found


def _read_all(names: Sequence[str]) -> Steps:
    """The compacted state. What is written meanwhile may be in it or not, and is read again after its position."""
    last = ("XREVRANGE", STREAM, "+", "-", "COUNT", 1)
    replies = yield (("MULTI",), ("GET", SEQUENCE), last, ("EXEC",))
    sequence, entries = _answered(replies)
    found = Read(position=Position(sequence, entries[0][0] if entries else FIRST_ENTRY))
    for name in names:
        cursor: bytes | int | None = None
        while cursor != b"0":
            replies = yield (("HSCAN", state_key(name), cursor or 0, "COUNT", PAGE),)
            cursor, page = _sound(replies[0])
            for packed, text in zip(page[::2], page[1::2], strict=True):
                _take_field(found, name, packed, text)
    return found


def _answered(replies: Sequence[Reply]) -> tuple[int, Reply]:
    """The sequence and the stream's answer, of one transaction."""
    sequence, entries = _sound(replies[-1])
    return int(_sound(sequence) or 0), _sound(entries)


def _sound(reply: Reply) -> Reply:
    if isinstance(reply, Exception):
        raise OverlayError(f"redis: {str(reply)[:80]}")
    return reply


def _take_field(found: Read, name: str, packed: bytes, text: bytes) -> None:
    if len(packed) != 8:
        found.broken += 1
        return
    found.take(name, int.from_bytes(packed, "little", signed=True), text.decode("ascii", "replace"))


def _take_entry(found: Read, fields: Sequence[bytes]) -> None:
    try:
        batch = json.loads(dict(zip(fields[::2], fields[1::2], strict=True))[ENTRY.encode()])
        pairs = [(name, _key(text), value) for name, values in batch.items() for text, value in values.items()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        found.broken += 1
        return
    for name, key, value in pairs:
        found.take(name, key, value)


def _key(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (key := int(text)) < 2**63:
        raise ValueError("not an item key")
    return key


def _packed(key: int) -> bytes:
    return key.to_bytes(8, "little", signed=True)


def _text(value: Value | None) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(int(value))
    return repr(value) if isinstance(value, float) else ",".join(map(str, sorted(value)))


def _parse(name: str, text: str) -> Value:
    """Raises ValueError, or KeyError for an attribute that this revision does not know."""
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ValueError("not a value")
    return PARSERS[name](text)


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("not 0 or 1")
    return text == "1"


def _price(text: str) -> float:
    price = float(text)
    if not 0 < price <= MOST_PRICE:
        raise ValueError("not a price")
    return price


def _regions(text: str) -> frozenset[int]:
    """Country codes, as the schema numbers them; none: everywhere."""
    codes = frozenset(map(int, text.split(","))) if text else frozenset()
    if any(not 0 < code < 2**16 for code in codes):
        raise ValueError("not country codes")
    return codes


PARSERS: Mapping[str, Callable[[str], Value]] = {
    IN_STOCK: _flag, IS_SAFE: _flag, PRICE: _price, REGIONS: _regions,
}  # fmt: skip
