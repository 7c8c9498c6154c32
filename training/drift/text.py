"""The comparison as a person reads it on a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

SHOWN = 20


def readable(document: Mapping[str, Any]) -> str:
    """The worst columns as a table, and the verdict."""
    return "\n".join(_lines(document))


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    columns = {**document["features"], **document["scores"]}
    worst = sorted(columns.items(), key=lambda item: -item[1]["psi"])
    yield f"{'':<34} {'PSI':>8}  {'by chance':>9}  {'missing':>8}"
    for name, column in [*worst[:SHOWN], *((n, c) for n, c in worst[SHOWN:] if n in document["scores"])]:
        figures = f"{column['psi']:>8.4f}  {column['noise']:>9.4f}  {column['missing']:>8.2%}"
        yield f"{name:<34} {figures}  {column['status']}"
    current, reference = document["current"], document["reference"]
    yield ""
    yield f"line {reference['line']}, {reference['rows']} rows, against {current['window']} of {current['folder']}"
    if current["vocabulary"] == "other":
        yield "the codes of categories, brands and price bands mean other things than when the line was trained"
    yield (
        f"{document['status']}: {document['drifted']} of {len(columns)} columns drifted, {document['moderate']} "
        f"moderate, over {document['rows']} rows"
    )
