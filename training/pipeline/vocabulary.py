"""Codes of categories, brands and price bands: by frequency in the catalogue, 0 = other or unknown.

Lines that serve were trained on them, so from day to day codes are only ever added.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as fn

from feature_repo.schema import BRANDS, CATEGORIES, PRICE_BANDS

FILE = "vocabulary.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Names in order of code, the first has code 1; `price_edges` are the inner limits between bands 1, 2, …"""

    categories: tuple[str, ...]
    brands: tuple[str, ...]
    price_edges: tuple[float, ...]

    def save(self, folder: Path) -> None:
        """Write vocabulary.json."""
        (folder / FILE).write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))


def load(folder: Path) -> Vocabulary:
    """The vocabulary of a features folder."""
    stored = orjson.loads((folder / FILE).read_bytes())
    return Vocabulary(**{name: tuple(values) for name, values in stored.items()})


def build(items: DataFrame) -> Vocabulary:
    """Count the catalogue: at most 31 categories and brands, 6 quantiles of the price."""
    return Vocabulary(
        categories=_most_frequent(items, "category", CATEGORIES - 1),
        brands=_most_frequent(items, "brand", BRANDS - 1),
        price_edges=_quantiles(items, PRICE_BANDS - 1),
    )


def inherited(fresh: Vocabulary, previous: Vocabulary) -> Vocabulary:
    """`previous`, its free codes given to the most frequent of the new names; price edges stay once there are any."""
    return Vocabulary(
        categories=_extended(previous.categories, fresh.categories, CATEGORIES - 1),
        brands=_extended(previous.brands, fresh.brands, BRANDS - 1),
        price_edges=previous.price_edges or fresh.price_edges,
    )


def category_code(vocabulary: Vocabulary) -> Column:
    """Code of the column `category`."""
    return _code("category", vocabulary.categories)


def brand_code(vocabulary: Vocabulary) -> Column:
    """Code of the column `brand`."""
    return _code("brand", vocabulary.brands)


def price_band(vocabulary: Vocabulary) -> Column:
    """Band of the column `price`: 1 + the number of edges below it; 0 without a price."""
    band = fn.lit(1)
    for edge in vocabulary.price_edges:
        band = band + (fn.col("price") > edge).cast("int")
    return fn.when(fn.col("price").isNull(), 0).otherwise(band)


def _extended(previous: tuple[str, ...], fresh: tuple[str, ...], limit: int) -> tuple[str, ...]:
    return (*previous, *(name for name in fresh if name not in previous))[:limit]


def _most_frequent(items: DataFrame, column: str, limit: int) -> tuple[str, ...]:
    counted = items.filter(fn.col(column).isNotNull()).groupBy(column).count()
    rows = counted.orderBy(fn.desc("count"), column).limit(limit).collect()
    return tuple(row[column] for row in rows)


def _quantiles(items: DataFrame, bands: int) -> tuple[float, ...]:
    shares = fn.array(*[fn.lit(n / bands) for n in range(1, bands)])
    edges = items.agg(fn.percentile("price", shares).alias("edges")).first()
    return tuple(dict.fromkeys(edges["edges"])) if edges is not None and edges["edges"] else ()


def _code(column: str, names: tuple[str, ...]) -> Column:
    if not names:
        return fn.lit(0)
    pairs = [fn.lit(part) for code, name in enumerate(names, 1) for part in (name, code)]
    return fn.coalesce(fn.try_element_at(fn.create_map(*pairs), fn.col(column)), fn.lit(0))
