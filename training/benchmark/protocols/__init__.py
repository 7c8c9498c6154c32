"""The published protocols."""

from importlib import import_module
from typing import Any

from training.benchmark.protocol import Protocol
from training.errors import DataError

PLACES = {
    "ml100k": ("ml100k", "PROTOCOL"),
    "beauty-full": ("beauty", "EVERYTHING"),
    "beauty-99": ("beauty", "AMONG_99"),
    "lastfm-ctr": ("lastfm_ctr", "PROTOCOL"),
    "deskdrop": ("deskdrop", "PROTOCOL"),
    "ta-feng": ("ta_feng", "PROTOCOL"),
}  # name: module, object


def named(name: str) -> Protocol[Any]:
    """The protocol of a name. Raises DataError for an unknown one."""
    if name not in PLACES:
        raise DataError(f"benchmark {name}: unknown; there are {', '.join(PLACES)}")
    module, place = PLACES[name]
    protocol: Protocol[Any] = getattr(import_module(f"training.benchmark.protocols.{module}"), place)
    return protocol
