"""The feature schema: every feature by name, in order. The one definition of what a feature is, hashed.

Spark computes these columns, Feast stores them, the towers and the ranker read them, and the schema's hash is in
every release manifest, every packed row's key and every cache key, so that two sides that disagree never meet.

A *scalar* is one column. A *code* is a scalar that holds a small integer, 0 meaning "other or unknown" (the towers
embed it, the forest compares it). A *vector* has `width` columns of either sign, *shares* are parts of a whole, so
≥ 0. A *sequence* has `width` integers, latest first.

    group     one row per           where it lives
    user      user, daily           packed row in Redis
    history   user, daily           the same packed row
    item      item, hourly          item table of a generation, answered by `candidates`
    content   item                  offline: the item tower reads it when a generation is built
    context   request               built by the orchestrator
    cross     candidate             built by the assembler
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from feature_repo.feature import (
    BRANDS,
    CART_PRIOR,
    CATEGORIES,
    COUNTRIES,
    CTR_PRIOR,
    CVR_PRIOR,
    DAYPARTS,
    DEVICES,
    FAVORITE_PRIOR,
    GENDERS,
    HISTORY,
    IMAGE_WIDTH,
    LANGUAGES,
    PLACEMENTS,
    PRICE_BANDS,
    REDUCED_WIDTH,
    REFERRERS,
    SEGMENTS,
    SYSTEMS,
    TEXT_WIDTH,
    TIERS,
    Feature,
    Group,
)
from feature_repo.groups.context import CONTEXT
from feature_repo.groups.cross import CROSS
from feature_repo.groups.item import CONTENT, ITEM
from feature_repo.groups.user import SEQUENCE, USER

__all__ = [
    "BRANDS", "CART_PRIOR", "CATEGORIES", "CONTENT_WIDTH", "CONTEXT_WIDTH", "COUNTRIES", "CTR_PRIOR", "CVR_PRIOR",
    "DAYPARTS", "DEVICES", "FAVORITE_PRIOR", "GENDERS", "HISTORY", "IMAGE_WIDTH", "ITEM_WIDTH", "LANGUAGES",
    "PLACEMENTS", "PRICE_BANDS", "RANKER_WIDTH", "REDUCED_WIDTH", "REFERRERS", "SCHEMA", "SEGMENTS", "SYSTEMS",
    "TEXT_WIDTH", "TIERS", "USER_WIDTH", "Feature", "Group", "Schema", "country_code",
    "language_code",
]  # fmt: skip

RANKER_ORDER: tuple[Group, ...] = ("user", "item", "context", "cross")


@dataclass(frozen=True)
class Schema:
    """An ordered set of features; widths are in columns."""

    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        names = [f.name for f in self.features]
        if repeated := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"features named twice: {', '.join(repeated)}")

    def group(self, group: Group) -> tuple[Feature, ...]:
        """The features of one group, in column order."""
        return tuple(f for f in self.features if f.group == group)

    def width(self, group: Group) -> int:
        """Columns of one group's array."""
        return sum(f.width for f in self.group(group))

    def offset(self, name: str) -> int:
        """First column of the feature inside its group's array. Raises KeyError for an unknown name."""
        feature = self.by_name[name]
        before = self.group(feature.group)
        return sum(f.width for f in before[: before.index(feature)])

    def columns(self, name: str) -> slice:
        """The feature's columns inside its group's array. Raises KeyError for an unknown name."""
        start = self.offset(name)
        return slice(start, start + self.by_name[name].width)

    @cached_property
    def by_name(self) -> dict[str, Feature]:
        """Features by name."""
        return {f.name: f for f in self.features}

    @cached_property
    def ranker_features(self) -> tuple[Feature, ...]:
        """Features of the ranker, in order: user, item, context, cross."""
        return tuple(f for g in RANKER_ORDER for f in self.group(g) if f.ranker)

    @cached_property
    def ranker_names(self) -> tuple[str, ...]:
        """Columns of the ranker's matrix, in order."""
        return tuple(column for f in self.ranker_features for column in f.columns)

    @cached_property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 over everything that changes a value or its place."""
        parts = [(f.name, f.group, f.kind, f.dtype, f.default, f.width, f.cardinality, f.ranker) for f in self.features]
        vocabularies = (DEVICES, SYSTEMS, PLACEMENTS, REFERRERS, GENDERS, TIERS, SEGMENTS, DAYPARTS)
        priors = (CTR_PRIOR, CVR_PRIOR, CART_PRIOR, FAVORITE_PRIOR)
        return hashlib.sha256(repr((parts, vocabularies, priors)).encode()).hexdigest()[:16]

    def counts(self) -> dict[str, int]:
        """Features of each group, and of the ranker: how many named features its matrix is made of."""
        groups: Iterable[Group] = ("user", "history", "item", "content", "context", "cross")
        return {g: len(self.group(g)) for g in groups} | {"ranker": len(self.ranker_features)}


SCHEMA = Schema((*USER, *SEQUENCE, *ITEM, *CONTENT, *CONTEXT, *CROSS))
USER_WIDTH = SCHEMA.width("user")
ITEM_WIDTH = SCHEMA.width("item")
CONTENT_WIDTH = SCHEMA.width("content")
CONTEXT_WIDTH = SCHEMA.width("context")
RANKER_WIDTH = len(SCHEMA.ranker_names)


def country_code(country: str | None) -> int:
    """Code of an ISO 3166-1 alpha-2 country, 1…676 in alphabetical order; 0 for anything else."""
    if country is None or len(country) != 2 or not country.isascii() or not country.isalpha():
        return 0
    first, second = (ord(letter) - ord("A") for letter in country.upper())
    return first * 26 + second + 1


def language_code(language: str | None) -> int:
    """Code of an ISO 639-1 language, numbered as countries are; a tag counts by its first part: `pt-BR` is `pt`."""
    return country_code(None if language is None else language.replace("_", "-").split("-")[0])
