"""A supervisor to kill: Redis and Triton in a stack, their pids on stdout, then the foreground until a signal."""

import json

import typer

from deploy.local.__main__ import one_line_errors
from deploy.local.runtime import RedisServer, Stack, TritonServer
from deploy.local.runtime.stack import signals_interrupt
from deploy.settings import load_settings
from tests.deploy import echo


def main() -> None:
    """Settings come from the environment, as in real life."""
    with one_line_errors(), signals_interrupt():
        settings = load_settings()
        echo.write_model(settings.runtime_repository, 1)
        with Stack(settings) as stack:
            redis = stack.start(RedisServer(settings))
            triton = stack.start(TritonServer(settings, backends=[echo.BACKENDS]))
            echo.load(settings.triton_url)
            print(json.dumps({"redis": redis.pid, "triton": triton.pid, "shm": triton.shm_prefix}), flush=True)
            stack.watch()


if __name__ == "__main__":
    typer.run(main)
