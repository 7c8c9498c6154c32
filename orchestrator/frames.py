"""HTTP/2 frames and header blocks as bytes (RFC 9113, RFC 7541): pure, no I/O."""

from collections.abc import Mapping
from functools import lru_cache

from hpack import Decoder

DATA, HEADERS, PRIORITY_FRAME, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 2, 4, 5
HEAD = 9  # bytes before each frame's payload
WINDOW = (1 << 16) - 1  # what a window is until somebody says otherwise
LARGEST_WINDOW = (1 << 31) - 1
FIRST_FRAME_BYTES = 1 << 14  # the largest payload until somebody says otherwise
OUR_FRAME_BYTES = 1 << 20  # the largest payload that we accept
CANCEL = (8).to_bytes(4, "big")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return head(kind, flags, stream, len(payload)) + payload


def head(kind: int, flags: int, stream: int, length: int) -> bytes:
    """What comes before a payload of `length` bytes."""
    return length.to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")


def settings(values: Mapping[int, int]) -> bytes:
    """A SETTINGS payload."""
    return b"".join(name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in values.items())


def settings_of(payload: bytes) -> dict[int, int]:
    """The settings of a payload, by number."""
    parts = (payload[at : at + 6] for at in range(0, len(payload) - 5, 6))
    return {int.from_bytes(part[:2], "big"): int.from_bytes(part[2:], "big") for part in parts}


def number(payload: bytes) -> int:
    """The 31 bits that most short payloads begin with."""
    return int.from_bytes(payload[:4], "big") & LARGEST_WINDOW


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload without its padding."""
    return payload[1 : len(payload) - payload[0]] if flags & PADDED and payload else payload


def header_block(headers: Mapping[bytes, bytes]) -> bytes:
    """Literals that no table keeps (RFC 7541, 6.2.2)."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in headers.items())


def _string(text: bytes) -> bytes:
    """A string literal: its length with a prefix of seven bits (RFC 7541, 5.1 and 5.2), not Huffman-coded."""
    length = bytes((len(text),)) if len(text) < 0x7F else b"\x7f" + varint(len(text) - 0x7F)
    return length + text


def varint(value: int) -> bytes:
    """A variable-length integer, as protobuf and HPACK write it."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


@lru_cache(maxsize=256)
def headers_of(block: bytes) -> Mapping[bytes, bytes]:
    """A header block from a peer that was told to keep no table. Raises hpack.HPACKError."""
    return {bytes(name): bytes(value) for name, value in Decoder().decode(block, raw=True)}


# No table, no push, replies of any size without a question, large frames.
GREETING = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + frame(
        SETTINGS,
        0,
        0,
        settings(
            {HEADER_TABLE_SIZE: 0, ENABLE_PUSH: 0, INITIAL_WINDOW_SIZE: LARGEST_WINDOW, MAX_FRAME_SIZE: OUR_FRAME_BYTES}
        ),
    )
    + frame(WINDOW_UPDATE, 0, 0, (LARGEST_WINDOW - WINDOW).to_bytes(4, "big"))
)
