"""Two stored results side by side: every figure by its path, value A, value B, their ratio.

Rows of a list are matched by the columns that say what was measured (`IDENTITY`), not by their place, so that a sweep
with one more point still compares.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

IDENTITY = (
    "model", "stage", "step", "engine", "store", "peer", "server", "target", "name", "kind", "index", "codec", "device",
    "backend", "mode", "value", "concurrency", "rate", "clients", "batch", "items", "events", "users", "cores", "k",
    "nlist", "nprobe",
)  # fmt: skip
APART = ("machine", "run")
Leaf = float | int | str | bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One figure of two results; None where a result lacks it."""

    path: str
    a: float | None
    b: float | None

    @property
    def ratio(self) -> float | None:
        """B ÷ A; None where either is missing or A is 0."""
        return None if self.a is None or self.b is None or not self.a else self.b / self.a

    def beyond(self, tolerance: float) -> bool:
        """Whether B is further from A than that share of A, or one of them is missing."""
        if self.a is None or self.b is None:
            return True
        return abs(self.b - self.a) > tolerance * abs(self.a)


def compare(a: Mapping[str, object], b: Mapping[str, object]) -> list[Change]:
    """The figures of two results, in the order of the first; machine and run apart (`conditions`)."""
    left, right = _numbers(a), _numbers(b)
    return [Change(path=path, a=left.get(path), b=right.get(path)) for path in dict.fromkeys((*left, *right))]


def conditions(a: Mapping[str, object], b: Mapping[str, object]) -> dict[str, tuple[Leaf, Leaf]]:
    """What of machine and run differs: {path: (A, B)}; a ratio means little until this is empty or understood."""
    left, right = (dict(flatten({name: one[name] for name in APART if name in one})) for one in (a, b))
    paths = dict.fromkeys((*left, *right))
    return {path: (left.get(path), right.get(path)) for path in paths if left.get(path) != right.get(path)}


def flatten(value: object, path: str = "") -> Iterator[tuple[str, Leaf]]:
    """(path, leaf) of everything in a document: `points[model=ranker,mode=rate,value=50].p99_ms`."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from flatten(one, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for key, one in zip(_keys(value), value, strict=True):
            yield from flatten(one, f"{path}[{key}]")
    elif value is None or isinstance(value, bool | int | float | str):
        yield path, value


def _keys(rows: Sequence[object]) -> list[str]:
    """What identifies each row: its identity columns where they differ from row to row, else its place."""
    keys = [_identity(row) for row in rows]
    return keys if all(keys) and len(set(keys)) == len(keys) else [str(place) for place in range(len(rows))]


def _identity(row: object) -> str:
    if not isinstance(row, Mapping):
        return ""
    return ",".join(f"{name}={_short(row[name])}" for name in IDENTITY if _says_something(row.get(name)))


def _says_something(value: object) -> bool:
    return isinstance(value, str | int | float) and value != ""


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _numbers(document: Mapping[str, object]) -> dict[str, float]:
    leaves = flatten({name: value for name, value in document.items() if name not in APART})
    return {p: v for p, v in leaves if isinstance(v, int | float) and not isinstance(v, bool)}
