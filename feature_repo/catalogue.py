"""The feature catalogue, docs/features.md: every feature as the schema declares it; no list is kept by hand.

    python -m training catalogue      # writes it again after the schema changed

A test fails when the page is not what the schema says.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from deploy.settings import ROOT
from feature_repo import feature as constants
from feature_repo.feature import Feature, Group
from feature_repo.schema import SCHEMA, Schema

PAGE = ROOT / "docs" / "features.md"

KEPT: dict[Group, tuple[str, str, str]] = {  # one row per, where it lives, how fresh it is
    "user": ("user", "packed row in Redis", "daily"),
    "history": ("user", "the same packed row", "daily"),
    "item": ("item", "item table of a generation", "hourly"),
    "content": ("item", "offline store", "hourly, read when a generation is built"),
    "context": ("request", "built by the orchestrator", "the request itself"),
    "cross": ("candidate", "built by the assembler", "the request itself"),
}
PRIORS = {
    "CTR_PRIOR": ("clicks", "impressions", constants.CTR_PRIOR),
    "CVR_PRIOR": ("purchases", "clicks", constants.CVR_PRIOR),
    "CART_PRIOR": ("add_to_cart", "clicks", constants.CART_PRIOR),
    "FAVORITE_PRIOR": ("favorites", "clicks", constants.FAVORITE_PRIOR),
}
VOCABULARIES = {
    "DAYPARTS": constants.DAYPARTS,
    "DEVICES": constants.DEVICES,
    "SYSTEMS": constants.SYSTEMS,
    "PLACEMENTS": constants.PLACEMENTS,
    "REFERRERS": constants.REFERRERS,
    "GENDERS": constants.GENDERS,
    "TIERS": constants.TIERS,
    "SEGMENTS": constants.SEGMENTS,
}
SIZES = {
    "CATEGORIES": (constants.CATEGORIES, "codes of categories by frequency in the catalogue; 0 is any other"),
    "BRANDS": (constants.BRANDS, "codes of brands by frequency in the catalogue; 0 is any other"),
    "PRICE_BANDS": (constants.PRICE_BANDS, "bands between quantiles of the price; 0 is no price"),
    "COUNTRIES": (constants.COUNTRIES, "ISO 3166-1 alpha-2 in alphabetical order, AA = 1 … ZZ = 676; 0 is unknown"),
    "LANGUAGES": (constants.LANGUAGES, "ISO 639-1, numbered alike; 0 is unknown"),
    "HISTORY": (constants.HISTORY, "item-days a user's sequence holds, latest first"),
    "TEXT_WIDTH": (constants.TEXT_WIDTH, "columns of the sentence transformer's embedding"),
    "REDUCED_WIDTH": (constants.REDUCED_WIDTH, "its principal components, which the ranker sees"),
    "IMAGE_WIDTH": (constants.IMAGE_WIDTH, "principal components of the source's image vectors"),
}


def catalogue(schema: Schema) -> str:
    """The page as Markdown."""
    parts = [_head(schema), _summary(schema), *(_group(schema, group) for group in KEPT), _constants()]
    return "\n\n".join(parts) + "\n"


def write() -> Path:
    """Write the page of the current schema; returns where."""
    PAGE.write_text(catalogue(SCHEMA))
    return PAGE


def _head(schema: Schema) -> str:
    return (
        "# Feature catalogue\n\n"
        "Generated from [feature_repo/schema.py](../feature_repo/schema.py) by `python -m training catalogue`; "
        "edit the schema, not this page.\n\n"
        f"Schema `{schema.hash}`: {len(schema.features)} features, of which the ranker sees "
        f"{len(schema.ranker_features)} as {len(schema.ranker_names)} columns. A *scalar* is one column; a *code* a "
        "small integer, 0 meaning other or unknown; a *vector* has columns of either sign; *shares* are parts of a "
        "whole; a *sequence* holds integers, latest first. Every value that is missing or not finite becomes the "
        "default."
    )


def _summary(schema: Schema) -> str:
    rows = [
        (f"[{group}](#{group})", *KEPT[group], len(members), schema.width(group), sum(f.ranker for f in members))
        for group in KEPT
        for members in [schema.group(group)]
    ]
    total = ("**all**", "", "", "", *(sum(int(row[n]) for row in rows) for n in (4, 5, 6)))
    header = ("group", "one row per", "where it lives", "computed", "features", "columns", "seen by the ranker")
    return _table(header, [*rows, total])


def _group(schema: Schema, group: Group) -> str:
    members = schema.group(group)
    row, home, freshness = KEPT[group]
    header = ("feature", "type", "width", "default", "description", "source", "owner", "freshness", "ranker")
    rows = [
        (f"`{f.name}`", _type(f), f.width, f"{f.default:g}", f.description, f.source, f.owner, freshness, _seen(f))
        for f in members
    ]
    said = f"{len(members)} features, {schema.width(group)} columns; one row per {row}; {home}; {freshness}."
    return f"## {group}\n\n{said}\n\n{_table(header, rows)}"


def _type(feature: Feature) -> str:
    codes = f" of {feature.cardinality}" if feature.cardinality else ""
    return f"{feature.kind}{codes}, {feature.dtype}"


def _seen(feature: Feature) -> str:
    return "yes" if feature.ranker else ""


def _constants() -> str:
    priors = [
        (f"`{name}`", f"({hits} + {rate:g} × {weight:g}) / ({trials} + {weight:g})")
        for name, (hits, trials, (rate, weight)) in PRIORS.items()
    ]
    words = [(f"`{name}`", ", ".join(f"{n} {word}" for n, word in enumerate(v))) for name, v in VOCABULARIES.items()]
    sizes = [(f"`{name}`", size, meaning) for name, (size, meaning) in SIZES.items()]
    return (
        "## Constants\n\n"
        "A rate is smoothed by its prior, (successes + rate × weight) / (trials + weight), which is the rate itself "
        f"where nothing happened.\n\n{_table(('prior', 'smoothed rate'), priors)}\n\n"
        f"A code indexes its vocabulary; what is not in it is 0.\n\n{_table(('vocabulary', 'codes'), words)}\n\n"
        f"{_table(('size', '', 'meaning'), sizes)}"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(header), ["---"] * len(header), *cells])
