"""Tiny sets in the format of published ones."""

import gzip
import json
from pathlib import Path

import numpy as np

from training.adapters.movielens import GENRES
from training.benchmark.protocols.ml100k import SPLIT

USERS, ITEMS = 30, 24


def write_movies(folder: Path, seed: int = 1) -> Path:
    """ML-100K's split: users like one of two halves of the items."""
    rng, rows = np.random.default_rng(seed), {"train": [], "test": []}
    for user in range(1, USERS + 1):
        liked = rng.permutation(np.arange(1, ITEMS // 2 + 1) + ITEMS // 2 * (user % 2))[:9]
        for place, item in enumerate(liked):
            rows["test" if place > 6 else "train"].append(f"{user},{item},{rng.integers(1, 6)},{1000 + place}")
    for name, lines in rows.items():
        _write(folder / SPLIT / f"{name}.csv.gz", "\n".join(["user_id,item_id,rating,timestamp", *lines]))
    movies = [
        f"{item},Film {item}," + ",".join(str(int(n == item % 19)) for n in range(19)) for item in range(1, ITEMS + 1)
    ]
    _write(folder / "items.csv.gz", "\n".join(["movie_id,movie_title," + ",".join(GENRES), *movies]))
    people = [f"{user},{20 + user},{'MF'[user % 2]},artist" for user in range(1, USERS + 1)]
    _write(folder / "users.csv.gz", "\n".join(["user_id,age,gender,occupation", *people]))
    return folder


def noise_in_movies(folder: Path) -> None:
    """Other test labels for the same users."""
    file = folder / SPLIT / "test.csv.gz"
    head, *lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    rng = np.random.default_rng(9)
    _write(file, "\n".join([head, *(f"{line.split(',')[0]},{rng.integers(1, ITEMS + 1)},1,9999" for line in lines)]))


def write_beauty(folder: Path, last: int | None = None) -> Path:
    """Beauty's sequences: each user goes round a circle of items; `last` seeds other test items."""
    rng, lines = np.random.default_rng(last), []
    for user in range(1, USERS + 1):
        items = [(user * 5 + step) % ITEMS + 1 for step in range(4 + user % 4)]
        lines.append(" ".join(map(str, [user, *items[:-1], items[-1] if last is None else rng.integers(1, ITEMS + 1)])))
    _write(folder / "Beauty.txt.gz", "\n".join(lines))
    _write(folder / "Beauty_item2attributes.json.gz", json.dumps({str(n): [n % 3 + 1] for n in range(1, ITEMS + 1)}))
    others = np.random.default_rng(3).integers(1, ITEMS + 1, (USERS, 99)).astype(np.uint16)
    np.savez(folder / "Beauty_test_neg99.npz", neg=others, user=np.arange(1, USERS + 1, dtype=np.int32))
    return folder


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))
