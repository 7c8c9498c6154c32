"""`python -m exporters`: build, publish, list and verify releases; rewrite the committed Triton configs."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.settings import SettingsError, load_settings
from exporters.errors import ExportError
from training.errors import DataError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Json = Annotated[bool, typer.Option("--json", help="last line of stdout is one JSON document")]
console = Console(stderr=True)


@app.command()
def publish(
    promote: Annotated[bool, typer.Option(help="send all traffic to it")] = True, as_json: Json = False
) -> None:
    """Build the next release from the newest line and publish it on the running Triton.

    A release that was built but never carried traffic, because something stopped the last run, is taken up again.
    """
    from exporters.build import build_release
    from exporters.publish import publish as publish_release
    from exporters.publish import unpublished
    from training.lines import latest

    settings = load_settings()
    line = latest(settings.lines)
    number = unpublished(settings, line) or int(build_release(settings, line, _report).name)
    figures = publish_release(settings, number, _report, promote)
    _finish({"release": number, **figures}, as_json)


@app.command()
def restore(as_json: Json = False) -> None:
    """Load every release that carries traffic on a Triton that has just started."""
    from exporters.publish import restore as restore_releases

    traffic = restore_releases(load_settings())
    _finish({"releases": [r.release for r in traffic.releases]}, as_json)


@app.command("list")
def list_releases(as_json: Json = False) -> None:
    """Releases of the workspace, newest last, and the share of users each has."""
    from exporters.build import release_numbers
    from exporters.traffic import TrafficStore

    settings = load_settings()
    traffic = TrafficStore(settings).mirrored()
    shares = {arm.release: arm.share for arm in traffic.arms} if traffic else {}
    rows = [_row(settings.releases / str(n), shares.get(n, 0.0)) for n in release_numbers(settings.releases)]
    table = Table(*(rows[0] if rows else ["release"]))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)
    _finish({"releases": rows}, as_json)


def _row(folder: Path, share: float) -> dict[str, object]:
    """A release in the list; of one that another revision wrote, no more than its number."""
    from exporters.manifest import read

    empty = dict.fromkeys(("line", "items", "index", "candidates", "recall"))
    try:
        m = read(folder)
    except ExportError:
        return {"release": int(folder.name), **empty, "share": share, "created_at": "unreadable manifest"}
    return {
        "release": m.release,
        "line": m.line,
        "items": m.index.items,
        "index": f"{m.index.kind} {m.index.codec}",
        "candidates": m.index.candidates,
        "recall": m.index.recall,
        "share": share,
        "created_at": m.created_at.isoformat(),
    }


@app.command()
def verify(number: int, as_json: Json = False) -> None:
    """Check every file of a release against its manifest."""
    from exporters.manifest import verify as verify_release

    manifest = verify_release(load_settings().releases / str(number))
    files = sum(len(slot.files) for slot in manifest.slots.values())
    console.print(f"release {number}: {files} files are what the manifest says")
    _finish({"release": number, "files": files}, as_json)


@app.command()
def configs(check: Annotated[bool, typer.Option(help="only say what differs")] = False) -> None:
    """Rewrite the committed config.pbtxt files of both profiles from the tensor contract."""
    from model_repository.render import committed_configs

    stale = [p for p, content in committed_configs().items() if not p.is_file() or p.read_text() != content]
    if check and stale:
        raise ExportError(
            f"{len(stale)} config.pbtxt are stale, first {stale[0].name}; run `python -m exporters configs`"
        )
    for path in stale:
        _write(path, committed_configs()[path])


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def _report(step: str) -> None:
    console.print(f"  [dim]{step}[/dim]")


def _finish(result: dict[str, object], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")


def main() -> None:
    """Run the CLI; what it refuses is one line on stderr and exit code 2."""
    try:
        app()
    except (ExportError, DataError, SettingsError) as error:
        console.print(f"[red]error:[/red] {error}", soft_wrap=True, highlight=False)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
