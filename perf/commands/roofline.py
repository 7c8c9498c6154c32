"""`python -m perf roofline`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deploy.settings import load_settings
from perf.console import Json, Save, finish, show

HERE = "here"


def roofline(
    device: Annotated[str, typer.Option(help="`here` measures this machine; else h100, h200, a100, l4 …")] = HERE,
    batch: Annotated[int, typer.Option(min=1, help="requests that share a search")] = 1,
    items: Annotated[int | None, typer.Option(min=1, help="as if the release had so many")] = None,
    flat: Annotated[bool, typer.Option(help="as if the index were flat fp16")] = False,
    misses: Annotated[float, typer.Option(min=0, max=1, help="share without a cached embedding")] = 0.1,
    result: Annotated[Path | None, typer.Option(help="stored result: achieved ÷ ceiling")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG to write; beside --save when left out")] = None,
    save: Save = None,
    as_json: Json = False,
) -> None:
    """Bytes, FLOPs, node visits and calls of each stage, and the requests/s they allow. Needs no stack."""
    from perf.roofline.ceiling import as_rows, ceilings, read_achieved, whole
    from perf.roofline.devices import measure, named
    from perf.roofline.facts import newest_facts, resized
    from perf.roofline.plot import plot
    from perf.roofline.stages import stages
    from training.machine import facts as machine_facts

    machine = machine_facts()
    cores = int(str(machine["cores"]))
    chosen = measure(cores, float(str(machine["memory_gib"]))) if device == HERE else named(device)
    facts = resized(newest_facts(load_settings()), items, flat)
    found = ceilings(stages(facts, batch, misses), chosen, read_achieved(result, cores) if result else None)
    rows = as_rows(found)
    show(rows)
    if target := picture or (save and save.with_suffix(".png")):
        plot(found, chosen, batch, target)
    document = {
        "device": asdict(chosen), "facts": asdict(facts), "batch": batch, "misses": misses,
        "stages": rows, "whole_path_rps": round(whole(found), 1),
    }  # fmt: skip
    finish(document, as_json, save)
