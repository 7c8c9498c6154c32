"""The command that a clock runs every hour."""

from dataclasses import asdict
from typing import Annotated

import typer

from deploy.settings import load_settings
from exporters.commands.console import DryRun, Json, Wait, finish, report, say, show_rows


def refresh(
    allow_shrink: Annotated[
        bool, typer.Option("--allow-shrink", help="also when more than a tenth of the items are gone")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="leave the generation before loaded")] = False,
    triton: Annotated[list[str] | None, typer.Option(help="host:port of each server that has the new release")] = None,
    dry_run: DryRun = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Give every line that carries traffic a new generation: what `python -m training hourly` says of the catalogue.

    Only items that are new or changed are encoded. Each takes the place of its predecessor, which retires.
    """
    from exporters.lock import publishing
    from exporters.refresh import Options, require_refreshed
    from exporters.refresh import refresh as refresh_lines

    settings = load_settings()
    options = Options(dry_run=dry_run, allow_shrink=allow_shrink, keep=keep, triton=tuple(triton or ()))
    with publishing(settings, wait):
        done = refresh_lines(settings, report, options)
    rows = [asdict(line) for line in done]
    show_rows([{name: value for name, value in row.items() if name not in ("figures", "reason")} for row in rows])
    for line in done:
        if line.reason:
            say(f"line {line.line}: {line.reason}")
    finish({"lines": rows}, as_json)
    require_refreshed(done)
