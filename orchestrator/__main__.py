"""`python -m orchestrator serve`: the REST API on uvicorn with uvloop and httptools."""

import typer
import uvicorn

from deploy.settings import SettingsError, load_settings
from orchestrator.listen import OPTIONS

GRACE_S = 8
cli = typer.Typer(add_completion=False, help="The orchestrator: one request from HTTP to ranked items.")


@cli.callback()
def main() -> None:
    """Commands of the orchestrator."""


@cli.command()
def serve() -> None:
    """Serve in the foreground until SIGTERM or SIGINT; requests in flight finish first."""
    try:
        settings = load_settings()
    except SettingsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    uvicorn.run(
        "orchestrator.app:create_app",
        host=settings.host,
        port=settings.api_port,
        timeout_graceful_shutdown=GRACE_S,
        **OPTIONS,
    )


if __name__ == "__main__":
    cli(prog_name="python -m orchestrator")
