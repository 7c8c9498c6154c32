"""Commands about releases: build and publish, stage, restore, list, show, verify."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.settings import Settings, load_settings
from deploy.triton.backends.pace import at_full_speed
from exporters.commands.console import Json, Wait, console, finish, report, say, show_rows
from exporters.errors import ExportError
from model_repository.traffic import Traffic


def publish(
    release: Annotated[
        int | None, typer.Option(min=1, help="a release that was built; default: build the next")
    ] = None,
    promote: Annotated[bool, typer.Option(help="send all users to it")] = True,
    triton: Annotated[
        list[str] | None, typer.Option(help="host:port of each server; default: this workspace's")
    ] = None,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Build the next release from the newest line, prove it on Triton and, unless told otherwise, send users to it.

    A release that was built but not published, because something stopped the last run, is taken up again.
    """
    from exporters.lock import publishing
    from exporters.publish import publish as publish_release
    from exporters.rollout import promoted
    from exporters.shift import shift

    settings = load_settings()
    with publishing(settings, wait):
        number = release or _next(settings)
        figures = publish_release(settings, number, report, triton or ())
        if promote and _shares(_traffic(settings)) != {number: 1.0}:
            shift(settings, lambda before: promoted(before, number, "published"))
    say(f"release {number} is {'the champion' if promote else 'ready; `promote` or `canary` sends users to it'}")
    finish({"release": number, **figures}, as_json)


def stage(number: int, folder: Path, as_json: Json = False) -> None:
    """Write a model repository with one release, for Triton in --model-control-mode=none (blue/green)."""
    from exporters.publish import stage as stage_release

    manifest = stage_release(load_settings(), number, folder)
    say(f"{folder} serves release {number}; start every server on it, then `publish --release {number} --triton …`")
    finish({"release": number, "folder": str(folder), "models": len(manifest.slots) + 1}, as_json)


def restore(as_json: Json = False) -> None:
    """Load every release of the traffic record on a Triton that has just started."""
    from exporters.publish import restore as restore_releases

    traffic = restore_releases(load_settings())
    finish({"releases": [r.release for r in traffic.releases]}, as_json)


def list_releases(as_json: Json = False) -> None:
    """Releases of the workspace, newest last, and the share of users each has."""
    from exporters.manifest import release_numbers

    settings = load_settings()
    traffic = _traffic(settings)
    rows = [_row(settings.releases / str(n), traffic) for n in release_numbers(settings.releases)]
    show_rows(rows)
    record = traffic.model_dump(mode="json") if traffic else None
    finish({"releases": rows, "traffic": record}, as_json)


def show(number: int, as_json: Json = False) -> None:
    """One release: its manifest, its gates, and who is sent to it."""
    from exporters.manifest import read

    settings = load_settings()
    manifest, traffic = read(settings.releases / str(number)), _traffic(settings)
    facts: dict[str, Any] = {
        **_row(settings.releases / str(number), traffic),
        "as of": manifest.as_of,
        "schema": manifest.schema_hash,
        "tower digest": manifest.tower_digest,
        "models": {name: f"{slot.model}/{slot.version}" for name, slot in manifest.slots.items()},
        "gates": manifest.gates,
        "parent": manifest.parent,
        "revision": manifest.git_revision,
    }
    show_rows([{"what": name, "value": value} for name, value in facts.items()])
    finish(facts | {"manifest": manifest.model_dump(mode="json")}, as_json)


def verify(number: int, as_json: Json = False) -> None:
    """Check that a release is what its manifest says, of this schema, and signed where a key is set."""
    from exporters.publish import require_servable

    manifest = require_servable(load_settings(), number)
    files = sum(len(slot.files) for slot in manifest.slots.values())
    say(f"release {number}: {files} files are what the manifest says")
    finish({"release": number, "files": files}, as_json)


def configs(check: Annotated[bool, typer.Option(help="only say what differs")] = False) -> None:
    """Rewrite the committed config.pbtxt files of both profiles from the tensor contract."""
    from model_repository.render import committed_configs

    wanted = committed_configs()
    stale = [path for path, content in wanted.items() if not path.is_file() or path.read_text() != content]
    if check and stale:
        raise ExportError(
            f"{len(stale)} config.pbtxt are stale, first {stale[0].name}; run `python -m exporters configs`"
        )
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
    console.print(f"{len(stale)} of {len(wanted)} files were stale")


def _next(settings: Settings) -> int:
    from exporters.publish import unpublished
    from training.lines import latest

    line = latest(settings.lines)
    if (number := unpublished(settings, line)) is not None:
        return number
    with at_full_speed():
        from exporters.build import build_release

        return int(build_release(settings, line, report).name)


def _traffic(settings: Settings) -> Traffic | None:
    """The record, from the mirror where Redis is away."""
    from exporters.traffic import TrafficStore

    store = TrafficStore(settings)
    with suppress(ExportError):
        return store.read()
    return store.mirrored()


def _shares(traffic: Traffic | None) -> dict[int, float]:
    return {arm.release: arm.share for arm in traffic.arms} if traffic else {}


def _row(folder: Path, traffic: Traffic | None) -> dict[str, object]:
    """A release in the list; of one that another revision wrote, no more than its number."""
    from exporters.manifest import read

    number = int(folder.name)
    arm = next((arm for arm in traffic.arms if arm.release == number), None) if traffic else None
    state = arm.variant if arm else ("listed" if traffic and traffic.served(number) else None)
    row: dict[str, object] = {"release": number, "state": state, "share": arm.share if arm else 0.0}
    try:
        m = read(folder)
    except ExportError:
        empty = dict.fromkeys(("line", "items", "index", "candidates", "recall"))
        return row | empty | {"created_at": "unreadable manifest"}
    return row | {
        "line": m.line,
        "items": m.index.items,
        "index": f"{m.index.kind} {m.index.codec}",
        "candidates": m.index.candidates,
        "recall": m.index.recall,
        "created_at": m.created_at.isoformat(timespec="seconds"),
    }
