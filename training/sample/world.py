"""Users and items of the generated sample, with the tastes and qualities behind their behaviour."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from training.sample.truth import DAY, Truth
from training.sample.words import ADJECTIVES, BRANDS, CATEGORIES, COUNTRIES

AS_OF = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 104

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is generated; sessions are the mean per user over the whole window."""

    users: int
    items: int
    sessions: float = 9.0
    views: float = 5.0


SIZES = {"tiny": Size(users=300, items=600), "default": Size(users=2000, items=2000)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Columns of the users table and each user's activity (mean sessions)."""

    signup_at: Ints
    age: Ints  # 0 = not stated
    gender: Ints  # index in ("female", "male", "other"), 3 = not stated
    country: Ints
    premium: Bools
    activity: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """Columns of the items table and each item's conversion tendency (logit)."""

    price: npt.NDArray[np.float64]
    noun: Ints
    adjective: Ints
    rating: npt.NDArray[np.float64]
    review_count: Ints
    in_stock: Bools
    is_safe: Bools
    regions: Bools  # [items, countries]; all true = everywhere
    conversion: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that exists before anyone acts."""

    users: Users
    items: Items
    truth: Truth


def build(size: Size, rng: np.random.Generator) -> World:
    """A world of this size."""
    popularity = _skewed(len(CATEGORIES), 0.5)
    users = _users(size, rng)
    category = rng.choice(len(CATEGORIES), size.items, p=popularity)
    log_price = _log_price(category, rng)
    quality = _quality(size.items, rng)
    items = _items(np.exp(log_price), quality, rng)
    truth = Truth(
        user_ids=np.array([f"u{n:05d}" for n in range(size.users)]),
        item_ids=np.array([f"i{n:05d}" for n in range(size.items)]),
        category_taste=_taste(size.users, popularity**0.6, (3.5, 2.9, 2.2), 0.2, rng),
        brand_taste=_taste(size.users, _skewed(len(BRANDS), 0.4), (1.9, 1.6, 1.3, 1.0), 0.12, rng),
        price_preference=rng.normal(0, 0.8, size.users).astype(np.float32),
        price_weight=rng.uniform(0.25, 0.6, size.users).astype(np.float32),
        category=category,
        brand=rng.choice(len(BRANDS), size.items, p=_skewed(len(BRANDS), 0.4)),
        price_level=((log_price - log_price.mean()) / log_price.std()).astype(np.float32),
        quality=quality,
        created_at=_created(size.items, rng),
        allowed=items.regions.T[users.country],
    )
    return World(users=users, items=items, truth=truth)


def window_start() -> int:
    """First moment of the generated window, unix seconds."""
    return int(AS_OF.timestamp()) - DAYS * DAY


def _skewed(n: int, exponent: float) -> npt.NDArray[np.float64]:
    weights = np.arange(1, n + 1) ** -exponent
    return np.asarray(weights / weights.sum())


def _taste(
    users: int,
    popularity: npt.NDArray[np.float64],
    strengths: tuple[float, ...],
    noise: float,
    rng: np.random.Generator,
) -> Floats:
    """Sparse taste: a few favourites per user, drawn without replacement by popularity. [users, n]."""
    keys = rng.exponential(size=(users, len(popularity))) / popularity
    favourites = np.argsort(keys, axis=1)[:, : len(strengths)]
    taste = rng.normal(0, noise, (users, len(popularity)))
    strength = np.array(strengths) * rng.uniform(0.85, 1.15, (users, len(strengths)))
    np.put_along_axis(taste, favourites, strength, axis=1)
    return np.asarray(taste, np.float32)


def _quality(items: int, rng: np.random.Generator) -> Floats:
    quality = rng.normal(0, 0.5, items) + rng.exponential(0.4, items)
    return np.asarray(quality - quality.mean(), np.float32)


def _log_price(category: Ints, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    centre = rng.uniform(np.log(8), np.log(150), len(CATEGORIES))
    return centre[category] + rng.normal(0, 0.7, len(category))


def _created(items: int, rng: np.random.Generator) -> Ints:
    start = window_start()
    old = start - rng.integers(DAY, 400 * DAY, items)
    new = start + rng.integers(0, DAYS * DAY, items)
    return np.where(rng.random(items) < 0.7, old, new)


def _users(size: Size, rng: np.random.Generator) -> Users:
    n, start = size.users, window_start()
    old = start - rng.integers(DAY, 700 * DAY, n)
    new = start + rng.integers(0, DAYS * DAY, n)
    activity = rng.lognormal(0, 0.55, n)
    return Users(
        signup_at=np.where(rng.random(n) < 0.85, old, new),
        age=np.where(rng.random(n) < 0.9, np.clip(rng.normal(38, 13, n), 16, 85), 0).astype(np.int64),
        gender=rng.choice(4, n, p=(0.46, 0.46, 0.03, 0.05)),
        country=rng.choice(len(COUNTRIES), n, p=_skewed(len(COUNTRIES), 0.7)),
        premium=rng.random(n) < 0.2,
        activity=(size.sessions * activity / activity.mean()).astype(np.float32),
    )


def _items(price: npt.NDArray[np.float64], quality: Floats, rng: np.random.Generator) -> Items:
    n = len(price)
    return Items(
        price=np.maximum(np.round(price, 2), 0.5),
        noun=rng.integers(0, 6, n),
        adjective=rng.integers(0, len(ADJECTIVES), n),
        rating=np.clip(3.8 + 0.45 * quality + rng.normal(0, 0.35, n), 1, 5).astype(np.float64).round(1),
        review_count=np.floor(rng.lognormal(2.5, 1.0, n)).astype(np.int64),
        in_stock=rng.random(n) >= 0.05,
        is_safe=rng.random(n) >= 0.01,
        regions=_regions(n, rng),
        conversion=rng.normal(0, 0.5, n).astype(np.float32),
    )


def _regions(items: int, rng: np.random.Generator) -> Bools:
    """[items, countries]: about a tenth of the items is sold in three countries only."""
    chosen = np.argsort(rng.random((items, len(COUNTRIES))), axis=1) < 3
    return np.where((rng.random(items) < 0.1)[:, None], chosen, True)
