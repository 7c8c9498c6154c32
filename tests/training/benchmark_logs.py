"""Tiny sets in the format of published ones: Last.FM's split, Deskdrop's log, Ta-Feng's receipts."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd

PEOPLE, THINGS = 24, 20


def write_lastfm(folder: Path, noise: int | None = None) -> Path:
    """Users like one of two halves of the artists; `noise` seeds other test labels."""
    rng, rows = np.random.default_rng(1), []
    for user in range(PEOPLE):
        for item in rng.permutation(THINGS)[:16]:
            part = ("train", "train", "train", "eval", "test")[rng.integers(5)]
            rows.append((user, item, int(item % 2 == user % 2), part, item, user))
    frame = pd.DataFrame(rows, columns=["user", "item", "label", "split", "orig_artist_id", "orig_user_id"])
    if noise is not None:
        test = frame.split == "test"
        frame.loc[test, "label"] = np.random.default_rng(noise).integers(0, 2, int(test.sum()))
    _write(folder / "lastfm_ctr_split.csv.gz", frame.to_csv(index=False))
    triples = [f"{item}\tmusic.artist.origin\t{THINGS + item % 2}" for item in range(THINGS)]
    _write(folder / "kg.txt.gz", "\n".join(triples) + "\n")
    return folder


def write_deskdrop(folder: Path, noise: int | None = None) -> Path:
    """People read what is fresh; `noise` seeds other targets, of what a person had not read."""
    lines, rng = ["timestamp,eventType,contentId,personId,sessionId,userAgent,userRegion,userCountry"], _rng(noise)
    for item in range(THINGS):
        lines.append(f"{1_000_000 + item * 7200},VIEW,{item},author,1,,,BR")
    for person in range(PEOPLE):
        last = 6 + person % 8
        for step in range(last + 1):
            item = step + person % 4
            if step == last and rng is not None:
                item = int(rng.integers(item, THINGS))
            moment = 1_000_000 + (step + person % 4) * 7200 + 60 * (person + 1)
            lines.append(f"{moment},VIEW,{item},p{person},2,,,{('BR', 'US')[person % 2]}")
    _write(folder / "users_interactions.csv.gz", "\n".join(lines) + "\n")
    return folder


def write_ta_feng(folder: Path, noise: int | None = None) -> Path:
    """Customers buy the same few things; `noise` seeds other purchases in February."""
    rng, other, rows = np.random.default_rng(1), _rng(noise), []
    for day in pd.date_range("2000-11-01", "2001-02-28", freq="3D"):
        for customer in rng.permutation(PEOPLE)[:12]:
            for thing in {int(customer) % THINGS, *rng.integers(THINGS, size=2).tolist()}:
                item = thing
                if other is not None and day >= pd.Timestamp("2001-02-01"):
                    item = int(other.integers(THINGS))
                date, group = f"{day.month}/{day.day}/{day.year}", str(100 + item % 3)
                rows.append((date, f"{customer:04}", group, f"{item:05}", 1, 20 + item))
    names = ["TRANSACTION_DT", "CUSTOMER_ID", "PRODUCT_SUBCLASS", "PRODUCT_ID", "AMOUNT", "SALES_PRICE"]
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=names).to_parquet(folder / "ta_feng.parquet")
    return folder


def _rng(noise: int | None) -> np.random.Generator | None:
    return None if noise is None else np.random.default_rng(noise)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))
