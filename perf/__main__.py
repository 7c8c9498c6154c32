"""`python -m perf`: what Trident does, how fast, and where the limit is. `--help` lists the measurements."""

import typer

from deploy.local.errors import PlatformError
from deploy.local.runtime.stack import signals_interrupt
from deploy.settings import SettingsError
from exporters.errors import ExportError
from feature_repo.store import StoreError
from perf.commands.analyze import analyze
from perf.commands.catalogue import catalogue
from perf.commands.compare import compare
from perf.commands.diff import diff
from perf.commands.drill import drill
from perf.commands.figures import figures
from perf.commands.gpu import gpu
from perf.commands.load import load
from perf.commands.pipeline import pipeline
from perf.commands.plan import plan
from perf.commands.roofline import roofline
from perf.commands.store import store
from perf.commands.swap import swap
from perf.console import console
from perf.errors import PerfError
from training.errors import DataError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for command in (analyze, catalogue, compare, diff, drill, figures, gpu, load, pipeline, plan, roofline, store, swap):
    app.command()(command)


def main() -> None:
    """Run the CLI; what cannot be measured is one line on stderr and exit code 2. SIGTERM ends it like Ctrl-C."""
    try:
        with signals_interrupt():
            app()
    except (PerfError, ExportError, DataError, StoreError, PlatformError, SettingsError) as error:
        console.print(f"[red]error:[/red] {error}", soft_wrap=True, highlight=False)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
