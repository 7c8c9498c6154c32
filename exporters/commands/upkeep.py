"""Commands that keep a workspace in order: gc, keys."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deploy.settings import load_settings
from exporters.commands.console import DryRun, Json, finish, say


def gc(
    keep: Annotated[int, typer.Option(min=1, help="newest releases to keep, whoever lists them")] = 3,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove releases, lines and drafts that nobody needs any more."""
    from exporters.collect import collect

    found = collect(load_settings(), keep, dry_run)
    for path in found.paths:
        say(f"  {path}")
    say(f"{len(found.paths)} {'would go' if dry_run else 'gone'}, {found.bytes / 2**20:.1f} MiB")
    finish(asdict(found), as_json)


def keygen(folder: Path, as_json: Json = False) -> None:
    """Make a pair of keys to sign releases with and to verify them."""
    from exporters.signing import generate_keys

    private, public = generate_keys(folder)
    say(f"sign with TRIDENT_SIGNING_KEY={private}, verify with TRIDENT_VERIFYING_KEY={public}")
    finish({"private": str(private), "public": str(public)}, as_json)
