"""`python -m deploy.local serve | demo | run | doctor`: the platform on this machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import orjson
import typer
from rich.console import Console

from deploy.local.errors import PlatformError
from deploy.local.layout import SetupError
from deploy.settings import Settings, SettingsError, load_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
Json = Annotated[bool, typer.Option("--json", help="the last line of stdout is one JSON document")]
INTERRUPTED = 130


@app.command()
def serve(json: Json = False) -> None:
    """Bring everything up and stay in the foreground until Ctrl-C."""
    from deploy.local.serve import greeting, known_users, platform

    with one_line_errors(), _lasting() as settings:
        console = Console(stderr=True)
        with platform(settings, console) as running:
            console.print(greeting(running.url, known_users(settings, 1)[0]), soft_wrap=True, highlight=False)
            if json:
                _say_json({"url": running.url, "pid": os.getpid()})
            with suppress(KeyboardInterrupt):  # the usual end
                running.stack.watch()
            console.print("stopping")


@app.command()
def demo(json: Json = False) -> None:
    """Bring everything up, ask for a few recommendations, shut everything down."""
    from deploy.local.demo import run_demo
    from deploy.local.serve import platform

    with one_line_errors(), _lasting() as settings:
        with platform(settings, Console(stderr=True)) as running:
            summary = run_demo(settings, running.url, Console(stderr=json))
        _say_json(summary)


@app.command(context_settings={"ignore_unknown_options": True})
def run(command: Annotated[list[str], typer.Argument(help="what to run while everything is up")]) -> None:
    """Bring everything up, run a command against it, shut everything down; the command's exit code is ours."""
    from deploy.local.serve import platform
    from deploy.settings import child_environment

    with (
        one_line_errors(), _lasting() as settings, platform(settings, Console(stderr=True)) as up, up.stack.attended()
    ):  # fmt: skip
        done = subprocess.run(command, env=os.environ | child_environment(settings), check=False)
    raise typer.Exit(done.returncode)


@app.command()
def doctor(json: Json = False) -> None:
    """Say what this machine has, lacks or has wrong, with the fix; exit code 1 when something is missing."""
    from deploy.local.doctor import diagnose, report_table

    with one_line_errors():
        findings = diagnose(load_settings())
        healthy = not any(f.state == "missing" for f in findings)
        Console(stderr=json).print(report_table(findings))
        if json:
            _say_json({"healthy": healthy, "checks": [f.as_json() for f in findings]})
    raise typer.Exit(0 if healthy else 1)


@app.command(hidden=True)
def lock() -> None:
    """Resolve both lock files again (`make lock`)."""
    from deploy.local.lock import write_locks

    with one_line_errors():
        write_locks(lambda line: print(line, file=sys.stderr))


@contextmanager
def _lasting() -> Iterator[Settings]:
    """Settings, with SIGTERM and a closed terminal handled like Ctrl-C."""
    from deploy.local.runtime.stack import signals_interrupt

    with signals_interrupt():
        yield load_settings()


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What a person can act on is one line, exit code 1; Ctrl-C is 130; anything else is a bug, with its trace."""
    try:
        yield
    except (PlatformError, SetupError, SettingsError) as error:
        _fail(f"error: {error}", 1)
    except KeyboardInterrupt as stop:
        _fail(f"stopped ({stop.args[0] if stop.args else 'SIGINT'})", INTERRUPTED)


def _fail(line: str, code: int) -> None:
    print(line, file=sys.stderr)
    raise typer.Exit(code) from None


def _say_json(document: object) -> None:
    print(orjson.dumps(document).decode(), flush=True)


if __name__ == "__main__":
    app()
