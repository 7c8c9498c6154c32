"""A comparison for people: rows for a table, Markdown, a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from perf.compare.servers import TRIDENT
from perf.compare.whole_path import PEERS
from training.machine import facts

Document = Mapping[str, Any]
Row = dict[str, object]
COLOURS = {"ours": "#08519c", "theirs": "#9ecae1"}


def whole_path_rows(result: Document) -> list[Row]:
    """A row for each server."""
    return [
        {
            "server": name,
            "requests/s": result[f"{_word(name)}_rps"],
            "trident is × (least–most)": "" if name == TRIDENT else _times(result["spread"][f"ratio_{_word(name)}"]),
            "CPU ms/request": result["cpu_ms_per_request"][name]["total"],
            "p99 ms at 60 %": result["open_loop"].get(name, {}).get("latency_ms", {}).get("p99", ""),
            "less than full": f"{100 * result['less_than_full'][name]:.2f} %",
        }
        for name in (TRIDENT, *PEERS)
    ]


def speed_rows(result: Document, ours: str, what: str) -> list[Row]:
    """A row for each engine or store, in milliseconds."""
    faster = "ours is × (least–most)"
    rows: list[Row] = [{what: ours, "ms": result[ours], faster: ""}]
    rows += [{what: name, "ms": result[name], faster: _times(spread)} for name, spread in result["speedup"].items()]
    rows += [{what: name, "ms": "–", faster: why} for name, why in result.get("missing", {}).items()]
    return rows


def retrieval_rows(result: Document) -> list[Row]:
    """A row for each index."""
    found = {f"served ({result['index']})": result} | {f"{n}, part": one for n, one in result["peers"].items()}
    return [
        {"index": name, "items": one["items"], f"recall@{result['k']}": one["recall_at_500"], "queries/s": one["qps"]}
        for name, one in found.items()
    ]


def tables(document: Document) -> dict[str, list[Row]]:
    """Rows by title, of the stages that were measured."""
    makers = {
        "whole_path": ("Whole path, saturated", whole_path_rows),
        "ranker": ("Ranker, one request", lambda r: speed_rows(r, r["served"], "engine")),
        "item_features": ("Item features, one request", lambda r: speed_rows(r, "resident", "store")),
        "triton_call": ("A call to Triton, the caller's CPU", lambda r: speed_rows(r, r["ours"], "client")),
        "retrieval": ("Retrieval, one thread", retrieval_rows),
    }
    return {title: make(document[stage]) for stage, (title, make) in makers.items() if stage in document}


def markdown(document: Document) -> str:
    """All tables."""
    machine, catalogue = facts(), document["catalogue"]
    head = f"{machine['cpu']}, {machine['cores']} cores; {catalogue['items']} items, k = {catalogue['candidates']}"
    parts = [f"## {title}\n\n{_table(rows)}" for title, rows in tables(document).items()]
    return "\n\n".join(["# Trident beside its peers", head, *parts]) + "\n"


def plot(document: Document, path: Path) -> None:
    """Bars on a logarithmic axis, whiskers from the least to the most of the rounds."""
    from matplotlib.figure import Figure

    panels = {
        "whole_path": ("full answers per second", TRIDENT),
        "ranker": ("ranker, ms per request", document.get("ranker", {}).get("served", "")),
        "item_features": ("item features, ms per request", "resident"),
        "triton_call": ("a call to Triton, ms of the caller's CPU", document.get("triton_call", {}).get("ours", "")),
        "retrieval": ("queries per second, one thread", "served"),
    }
    drawn = {stage: panel for stage, panel in panels.items() if stage in document}
    figure = Figure(figsize=(4 * len(drawn), 4), layout="constrained")
    for axes, (stage, (title, ours)) in zip(
        figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True
    ):
        _bars(axes, document[stage]["samples"], title, ours)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _bars(axes: Any, samples: Mapping[str, Sequence[float]], title: str, ours: str) -> None:
    from matplotlib.ticker import NullFormatter

    names = list(samples)
    middle = [median(samples[name]) for name in names]
    below = [m - min(samples[name]) for m, name in zip(middle, names, strict=True)]
    above = [max(samples[name]) - m for m, name in zip(middle, names, strict=True)]
    colours = [COLOURS["ours" if name == ours else "theirs"] for name in names]
    axes.barh(names, middle, xerr=[below, above], color=colours, capsize=3, log=True)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=10)
    axes.bar_label(axes.containers[-1], labels=[f"{m:.3g}" for m in middle], padding=6, fontsize=8)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _table(rows: Sequence[Row]) -> str:
    cells = [[str(value) for value in row.values()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(rows[0]), ["---"] * len(rows[0]), *cells])


def _times(spread: Sequence[float]) -> str:
    middle, least, most = spread
    return f"{middle:g} ({least:g}–{most:g})"


def _word(name: str) -> str:
    return name.replace("-", "_")
