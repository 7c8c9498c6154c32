"""The options of `python -m training`, by what they mean; `training.daily.command` has those of a daily run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Json = Annotated[bool, typer.Option("--json", help="the last line of stdout is one JSON document")]
LowQuality = Annotated[bool, typer.Option("--allow-low-quality", help="publish tables below the minimum quality")]

Again = Annotated[bool, typer.Option("--full", help="read every day again, not only the new ones and the overlap")]
Overlap = Annotated[int, typer.Option("--overlap", min=0, help="days before the newest that are read again")]
NewCodes = Annotated[
    bool, typer.Option("--new-codes", help="count categories, brands, prices, titles anew; older lines end with that")
]
Full = Annotated[bool, typer.Option("--full", help="write every user's rows, compare every item's; not only changes")]
Reference = Annotated[int | None, typer.Option(help="number of the line; the newest by default")]
Current = Annotated[str, typer.Option(help="a features folder, a workspace or its name; latest: the configured one's")]
Split = Annotated[Literal["train", "validation", "test"] | None, typer.Option(help="whose window; test by default")]
Days = Annotated[float | None, typer.Option(help="instead of a split: what the last days before as_of were served")]
Plot = Annotated[Path | None, typer.Option(help="folder that a picture is written to")]
Once = Annotated[bool, typer.Option("--once", help="collect what is there and end")]
Everything = Annotated[bool, typer.Option("--compact", help="also make one file of each day that is not over yet")]
Beat = Annotated[float, typer.Option(min=0.1, help="seconds between two looks")]
Served = Annotated[
    bool | None, typer.Option("--served/--no-served", help="with what `collect` wrote; by default with source `files`")
]
LogDays = Annotated[int, typer.Option("--days", min=1, help="of the log, the last ones")]
OfRelease = Annotated[int | None, typer.Option("--release", help="only what this release answered")]
OfLine = Annotated[int | None, typer.Option("--line", help="only what releases of this line answered")]
FailAbove = Annotated[float | None, typer.Option(min=0.0, max=1.0, help="share of the requests; exit code 3 above it")]
