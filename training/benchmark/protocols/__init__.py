"""The published protocols, a module each."""

from importlib import import_module
from typing import Any

from training.benchmark.protocol import Protocol
from training.errors import DataError

MODULES = {"ml100k": "ml100k"}


def named(name: str) -> Protocol[Any]:
    """The protocol of a name. Raises DataError for an unknown one."""
    if name not in MODULES:
        raise DataError(f"benchmark {name}: unknown; there are {', '.join(MODULES)}")
    protocol: Protocol[Any] = import_module(f"training.benchmark.protocols.{MODULES[name]}").PROTOCOL
    return protocol
