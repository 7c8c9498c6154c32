"""`python -m exporters`: releases from building to gc, and who is sent to which.

    publish → canary N → ramp N → promote N     guard rolls a bad canary back, rollback does it by hand
    refresh, hourly: a new generation of every line that carries traffic
    retire N → gc
    watch, beside a Triton: broken models are loaded again
"""  # fmt: skip

import sys

from exporters.background import set_pace

set_pace(sys.argv[1:])  # before what follows is imported

from collections.abc import Callable  # noqa: E402

import typer  # noqa: E402
from rich.markup import escape  # noqa: E402

from deploy.settings import SettingsError  # noqa: E402
from exporters.commands import releases, rollout, traffic, upkeep  # noqa: E402
from exporters.commands.console import console  # noqa: E402
from exporters.commands.refresh import refresh  # noqa: E402
from exporters.commands.watch import watch  # noqa: E402
from exporters.errors import ExportError  # noqa: E402
from training.errors import DataError  # noqa: E402

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
COMMANDS: tuple[Callable[..., None], ...] = (
    releases.publish,
    releases.stage,
    releases.restore,
    releases.show,
    releases.verify,
    traffic.promote,
    traffic.canary,
    rollout.ramp,
    rollout.guard,
    rollout.exposures,
    traffic.rollback,
    traffic.retire,
    refresh,
    watch,
    upkeep.gc,
    upkeep.keygen,
    releases.configs,
)
app.command("list")(releases.list_releases)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Run the CLI; what it refuses is one line on stderr and exit code 2."""
    try:
        app()
    except (ExportError, DataError, SettingsError) as error:
        console.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True, highlight=False)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
