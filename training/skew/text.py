"""The comparison as a person reads it on a terminal."""

from collections.abc import Iterator, Mapping
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table

SHOWN = 20
WIDTH = 100


def readable(document: Mapping[str, Any]) -> str:
    """The columns that differ most, what was compared and what was not."""
    return "\n".join([_table(document), *_lines(document)])


def _table(document: Mapping[str, Any]) -> str:
    columns = {**document["scores"], **document["features"]}
    worst = sorted(columns.items(), key=lambda item: (-item[1]["share"], -item[1]["largest"]))[:SHOWN]
    table = Table(box=None, header_style="bold")
    table.add_column("")
    for name in ("compared", "differing", "share", "largest difference"):
        table.add_column(name, justify="right")
    for name, one in worst if document["skewed"] else worst[:3]:
        table.add_row(name, f"{one['rows']}", f"{one['differing']}", f"{one['share']:.2%}", f"{one['largest']:.6g}")
    text = StringIO()
    Console(file=text, width=WIDTH).print(table)
    return text.getvalue().rstrip()


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    users, scored = document["users"], document["scored"]
    yield ""
    yield (
        f"{document['requests']} sampled requests of release {', '.join(document['releases'])}: {users['compared']} of "
        f"known users ({users['stale']} were served an earlier snapshot, {users['acted_since_snapshot']} acted since "
        f"theirs), {users['cold']} of unknown ones, {users['without_snapshot']} without a snapshot any more"
    )
    left = ", ".join(f"{reason} {n}" for reason, n in sorted(scored["left_out"].items())) or "none"
    yield f"{scored['items']} items of {scored['requests']} requests scored again; left out: {left}"
    if document["broken"]:
        yield "not usable: " + ", ".join(f"{reason} {n}" for reason, n in sorted(document["broken"].items()))
    for name, count in document["words_not_logged"].items():
        yield f"{name}: {count} requests whose words the log does not hold are not compared"
    yield f"not compared: {len(document['not_compared'])} features of items, crosses and position (--json names them)"
    skewed, columns = len(document["skewed"]), len(document["features"]) + len(document["scores"])
    yield f"{document['status']}: {skewed} of {columns} columns differ between serving and training"
