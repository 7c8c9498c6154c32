"""Modules of Triton's backends, which lie on a stub's path, for tests that run them without Triton."""

import sys
from importlib import import_module
from types import ModuleType

from deploy.settings import ROOT

BACKENDS = ROOT / "deploy" / "triton" / "backends"


def backend_module(name: str, backend: str = "faiss") -> ModuleType:
    """The module, found as a stub of that backend finds it."""
    for folder in (str(BACKENDS / backend), str(BACKENDS)):
        if folder not in sys.path:
            sys.path.append(folder)
    return import_module(name)
