"""Ta-Feng: `ta_feng.parquet`, four months of receipts of a supermarket.

The mapping is ours: a line of a receipt is a purchase, a customer's day is a session (the receipts carry a date and no
time, so every line stands at noon UTC: at midnight it would count to the day before). Price is that of one piece,
SALES_PRICE / AMOUNT; an item is created at its first sale and keeps the category and price of that line. Age is the
middle of the age group. The test window is February 2001.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from training.adapters.canonical import SCHEMAS, table
from training.adapters.read import convert, read_parquet, require, select
from training.adapters.source import Source, Windows
from training.errors import DataError

SOURCE = Source(
    name="tafeng",
    has_impressions=False,
    windows=Windows(train=119, validation=14, test=27),  # days from noon to noon, both ends inside
    absent=("events.request_id", "events.device", "events.country", "items.brand", "items.title", "items.tags",
            "items.rating", "users.signup_at", "users.gender", "users.country", "users.tier"),
    notes="receipt line purchase, at noon UTC of its day; session = customer's day; price = SALES_PRICE / AMOUNT; "
          "item created, categorised and priced at its first sale; age = middle of the group, <25 22, >65 68",
)  # fmt: skip

COLUMNS = ("TRANSACTION_DT", "CUSTOMER_ID", "AGE_GROUP", "PRODUCT_SUBCLASS", "PRODUCT_ID", "AMOUNT", "SALES_PRICE")
AGE_OF_GROUP = {"<25": 22, "25-29": 27, "30-34": 32, "35-39": 37, "40-44": 42, "45-49": 47, "50-54": 52, "55-59": 57,
                "60-64": 62, ">65": 68}  # fmt: skip
NOON = np.timedelta64(12, "h")


def read(folder: Path | None) -> tuple[Source, Mapping[str, pa.Table]]:
    """The canonical tables of the folder. Raises DataError."""
    path = require(folder, "ta_feng.parquet")
    lines = _lines(path, select(path, read_parquet(path), COLUMNS))
    return SOURCE, {"events": _events(lines), "items": _items(lines), "users": _users(lines)}


def _lines(path: Path, receipts: pa.Table) -> pd.DataFrame:
    """Receipt lines in the canonical terms, in the order of the file."""
    quantity = convert(path, "AMOUNT", receipts["AMOUNT"], pa.int32()).to_pandas()
    paid = convert(path, "SALES_PRICE", receipts["SALES_PRICE"], pa.float64()).to_pandas()
    moments = _noons(path, receipts["TRANSACTION_DT"].to_pandas())
    return pd.DataFrame({
        "user_id": receipts["CUSTOMER_ID"].to_pandas(),
        "item_id": receipts["PRODUCT_ID"].to_pandas(),
        "timestamp": moments,
        "quantity": quantity,
        "price": paid / quantity.where(quantity > 0),
        "category": receipts["PRODUCT_SUBCLASS"].to_pandas(),
        "age": receipts["AGE_GROUP"].to_pandas().map(AGE_OF_GROUP),
    })  # fmt: skip


def _noons(path: Path, text: pd.Series) -> pd.Series:
    """Noon UTC of dates like 11/30/2000; the few distinct ones are parsed once."""
    dates, known = pd.factorize(text)
    parsed = pd.to_datetime(pd.Series(known), format="%m/%d/%Y", errors="coerce").to_numpy("datetime64[us]")
    moments = np.where(dates < 0, np.datetime64("NaT"), parsed[dates] + NOON)
    wrong = np.isnat(moments)
    if wrong.any():
        raise DataError(
            f"{path}: column TRANSACTION_DT: {int(wrong.sum())} of {len(text)} rows are not like 11/30/2000, "
            f"first {text[int(np.flatnonzero(wrong)[0])]!r}"
        )
    return pd.Series(moments)


def _events(lines: pd.DataFrame) -> pa.Table:
    session = lines.user_id + "-" + lines.timestamp.dt.strftime("%Y%m%d")
    columns = {name: _arrow(lines[name]) for name in ("user_id", "item_id", "timestamp", "quantity", "price")}
    columns |= {"event_type": pa.repeat("purchase", len(lines)), "session_id": _arrow(session)}
    return table(SCHEMAS["events"], columns, len(lines))


def _items(lines: pd.DataFrame) -> pa.Table:
    first = lines.sort_values("timestamp", kind="stable").drop_duplicates("item_id").sort_values("item_id")
    columns = {name: _arrow(first[name]) for name in ("item_id", "category", "price")}
    return table(SCHEMAS["items"], columns | {"created_at": _arrow(first.timestamp)}, len(first))


def _users(lines: pd.DataFrame) -> pa.Table:
    people = lines.groupby("user_id", sort=True)["age"].first().reset_index()
    return table(SCHEMAS["users"], {name: _arrow(people[name]) for name in ("user_id", "age")}, len(people))


def _arrow(column: pd.Series) -> pa.Array:
    return pa.Array.from_pandas(column)
