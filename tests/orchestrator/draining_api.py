"""The application on fakes, as a process: `python -m tests.orchestrator.draining_api FOLDER PORT DRAIN_S`."""

import sys
from pathlib import Path

import uvicorn

from orchestrator.app import assemble
from orchestrator.listen import OPTIONS
from tests.orchestrator.conftest import World, patient

if __name__ == "__main__":
    folder, port, drain_s = sys.argv[1:]
    service = World(Path(folder), patient(2.0, drain_s=float(drain_s))).service()
    uvicorn.run(assemble(service), port=int(port), **OPTIONS | {"factory": False})
