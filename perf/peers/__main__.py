"""`python -m perf.peers NAME`: one peer in the foreground on TRIDENT_API_PORT.

It serves the workspace's newest release and needs the stack's Redis.
"""

from typing import Annotated

import typer

from perf.peers import MONOLITH, MONOLITH_LIGHTGBM, NAIVE
from perf.peers.workers import serve

APPS = {
    NAIVE: "perf.peers.naive:create_app",
    MONOLITH: "perf.peers.monolith:create_app",
    MONOLITH_LIGHTGBM: "perf.peers.monolith:create_lightgbm_app",
}


def main(name: Annotated[str, typer.Argument(help=f"one of {', '.join(APPS)}")]) -> None:
    """Serve one peer until SIGTERM or SIGINT."""
    if name not in APPS:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(APPS)}")
    serve(APPS[name])


if __name__ == "__main__":
    typer.run(main)
