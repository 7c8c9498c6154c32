"""The feature schema: every feature by name, in order, with kind, default and source. The one definition.

Spark computes these columns, Feast stores them, the towers and the ranker read them, and the schema's hash is in
every release manifest, every packed row's key and every cache key, so that two sides that disagree never meet.

A *scalar* is one float32 column. A *code* is a scalar that holds a small integer, 0 meaning "other or unknown"
(the towers embed it, the forest compares it). A *vector* has `width` columns.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Group = Literal["user", "item", "context", "cross"]
Kind = Literal["scalar", "code", "vector"]

CATEGORIES = 32  # codes 0…31 by frequency in the training window; 0 = other
BRANDS = 32
PRICE_BANDS = 8  # 0 = no price
COUNTRIES = 677  # two-letter codes, see `country_code`; 0 = unknown
DEVICES = ("unknown", "mobile", "desktop", "tablet", "tv")
PLACEMENTS = ("unknown", "home", "search", "product", "cart", "email")
GENDERS = ("unknown", "female", "male", "other")
TIERS = ("unknown", "free", "premium")

# Prior of a smoothed rate: (successes + rate × weight) / (trials + weight).
CTR_PRIOR = (0.05, 20.0)
CVR_PRIOR = (0.05, 20.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One feature: `width` float32 columns; `cardinality` codes if it is a code."""

    name: str
    group: Group
    description: str
    source: str
    kind: Kind = "scalar"
    default: float = 0.0
    width: int = 1
    cardinality: int = 0
    ranker: bool = True

    def __post_init__(self) -> None:
        if (self.kind == "vector") != (self.width > 1):
            raise ValueError(f"feature {self.name}: kind {self.kind} does not fit width {self.width}")
        if (self.kind == "code") != (self.cardinality > 0):
            raise ValueError(f"feature {self.name}: kind {self.kind} does not fit cardinality {self.cardinality}")


def _user(name: str, description: str, source: str = "events", **more: object) -> Feature:
    return Feature(name=name, group="user", description=description, source=source, **more)  # type: ignore[arg-type]


def _item(name: str, description: str, source: str = "events", **more: object) -> Feature:
    return Feature(name=name, group="item", description=description, source=source, **more)  # type: ignore[arg-type]


def _context(name: str, description: str, source: str = "request", **more: object) -> Feature:
    return Feature(name=name, group="context", description=description, source=source, **more)  # type: ignore[arg-type]


def _cross(name: str, description: str) -> Feature:
    return Feature(name=name, group="cross", description=description, source="assemble")


_FEATURES = (
    _user("user_age", "age in years, 0 unknown", "users"),
    _user("user_gender", "index in GENDERS", "users", kind="code", cardinality=len(GENDERS)),
    _user("user_tier", "index in TIERS", "users", kind="code", cardinality=len(TIERS)),
    _user("user_country", "country_code of the user's country", "users", kind="code", cardinality=COUNTRIES),
    _user("user_days_since_signup", "days from signup to the snapshot", "users"),
    _user("user_impressions_30d", "items shown to the user, 30 days", "impressions"),
    _user("user_events_7d", "events of any type, 7 days"),
    _user("user_views_30d", "views, 30 days"),
    _user("user_clicks_30d", "clicks, 30 days"),
    _user("user_carts_90d", "add_to_cart, 90 days"),
    _user("user_favorites_90d", "favorites, 90 days"),
    _user("user_purchases_90d", "purchases, 90 days"),
    _user("user_ctr_30d", "clicks / impressions, 30 days, smoothed by CTR_PRIOR", default=CTR_PRIOR[0]),
    _user("user_cvr_90d", "purchases / clicks, 90 days, smoothed by CVR_PRIOR", default=CVR_PRIOR[0]),
    _user("user_days_since_event", "days since the last event, at most 365", default=365.0),
    _user("user_mean_price_90d", "mean price of items acted on, 90 days"),
    _user("user_spend_90d", "sum of price × quantity over purchases, 90 days"),
    _user("user_unique_items", "distinct items ever acted on"),
    _user("user_active_days_30d", "days with an event, 30 days"),
    _user(
        "user_category_affinity",
        "weighted share of actions by category code, 90 days; sums to ≤ 1",
        kind="vector",
        width=CATEGORIES,
        ranker=False,
    ),
    _user(
        "user_brand_affinity",
        "weighted share of actions by brand code, 90 days; sums to ≤ 1",
        kind="vector",
        width=BRANDS,
        ranker=False,
    ),
    _user(
        "user_price_affinity",
        "weighted share of actions by price band, 90 days; sums to ≤ 1",
        kind="vector",
        width=PRICE_BANDS,
        ranker=False,
    ),
    _item("item_category", "category by frequency, 0 other", "items", kind="code", cardinality=CATEGORIES),
    _item("item_brand", "brand by frequency, 0 other", "items", kind="code", cardinality=BRANDS),
    _item("item_price_band", "price quantile band, 0 no price", "items", kind="code", cardinality=PRICE_BANDS),
    _item("item_price", "price", "items"),
    _item("item_rating", "mean rating as the source states it", "items"),
    _item("item_review_count", "number of reviews as the source states it", "items"),
    _item("item_days_since_created", "days from creation to the snapshot", "items"),
    _item("item_impressions_30d", "times shown, 30 days", "impressions"),
    _item("item_views_30d", "views, 30 days"),
    _item("item_clicks_7d", "clicks, 7 days"),
    _item("item_clicks_30d", "clicks, 30 days"),
    _item("item_purchases_30d", "purchases, 30 days"),
    _item("item_events_1d", "events of any type, 1 day"),
    _item("item_events_30d", "events of any type, 30 days"),
    _item("item_ctr_30d", "clicks / impressions, 30 days, smoothed by CTR_PRIOR", default=CTR_PRIOR[0]),
    _item("item_cvr_30d", "purchases / clicks, 30 days, smoothed by CVR_PRIOR", default=CVR_PRIOR[0]),
    _item("item_unique_users", "distinct users ever acting on it"),
    _item("item_trending", "events in 30 days / (events ever + 1)"),
    _context("context_hour_sin", "sin of the hour of day, UTC"),
    _context("context_hour_cos", "cos of the hour of day, UTC"),
    _context("context_weekday_sin", "sin of the day of week, Monday 0"),
    _context("context_weekday_cos", "cos of the day of week, Monday 0"),
    _context("context_weekend", "1 on Saturday and Sunday"),
    _context("context_device", "index in DEVICES", kind="code", cardinality=len(DEVICES)),
    _context("context_country", "country_code of the request", kind="code", cardinality=COUNTRIES),
    _context("context_placement", "index in PLACEMENTS", kind="code", cardinality=len(PLACEMENTS)),
    _context("context_position", "position shown at, in training; 0 at serving (semantics: position)"),
    _cross("cross_similarity", "inner product of user and item embedding"),
    _cross("cross_category_affinity", "the user's affinity to the item's category"),
    _cross("cross_brand_affinity", "the user's affinity to the item's brand"),
    _cross("cross_price_affinity", "the user's affinity to the item's price band"),
    _cross("cross_price_ratio", "item price / (user's mean price + 1)"),
    _cross("cross_affinity_ctr", "category affinity × item CTR"),
    _cross("cross_recency_trending", "trending / (1 + days since the user's last event)"),
    _cross("cross_same_country", "1 if the request comes from the user's own country"),
)


@dataclass(frozen=True)
class Schema:
    """An ordered set of features; widths are in float32 columns."""

    features: tuple[Feature, ...]

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

    @cached_property
    def by_name(self) -> dict[str, Feature]:
        """Features by name."""
        return {f.name: f for f in self.features}

    @cached_property
    def ranker_names(self) -> tuple[str, ...]:
        """Columns of the ranker's matrix, in order: user, item, context, cross."""
        order: tuple[Group, ...] = ("user", "item", "context", "cross")
        return tuple(f.name for g in order for f in self.group(g) if f.ranker)

    @cached_property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 over everything that changes a value or its place."""
        parts = [(f.name, f.group, f.kind, f.default, f.width, f.cardinality, f.ranker) for f in self.features]
        vocabularies = (DEVICES, PLACEMENTS, GENDERS, TIERS, CTR_PRIOR, CVR_PRIOR)
        return hashlib.sha256(repr((parts, vocabularies)).encode()).hexdigest()[:16]


SCHEMA = Schema(_FEATURES)
USER_WIDTH = SCHEMA.width("user")
ITEM_WIDTH = SCHEMA.width("item")
CONTEXT_WIDTH = SCHEMA.width("context")
RANKER_WIDTH = len(SCHEMA.ranker_names)


def country_code(country: str | None) -> int:
    """Code of an ISO 3166-1 alpha-2 country, 1…676 in alphabetical order; 0 for anything else."""
    if country is None or len(country) != 2 or not country.isascii() or not country.isalpha():
        return 0
    first, second = (ord(letter) - ord("A") for letter in country.upper())
    return first * 26 + second + 1
