"""What users of the generated world do: sessions, requests with impressions, organic views, the funnel after clicks.

Logging policy of a request: 20 items without replacement by a mixture of popularity, noisy taste and uniform
exploration, in the order drawn. A click needs examination (falls with position) and attraction (true utility).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.sample.truth import DAY, Truth, freshness
from training.sample.world import DAYS, World, window_start

SHOWN = 20
MIXTURE = (0.35, 0.35, 0.30)  # popularity, noisy taste, uniform
CHUNK = 2048
HOURS = np.array([2, 1, 1, 1, 1, 2, 4, 6, 7, 7, 7, 8, 9, 8, 7, 7, 8, 9, 11, 13, 14, 13, 9, 5], float)
WEEKDAYS = np.array([1.0, 0.95, 0.95, 1.0, 1.1, 1.35, 1.3])  # Monday first
DEVICE_SHARES = (0.62, 0.28, 0.08, 0.02)  # mobile, desktop, tablet, tv
SYSTEMS = np.array([["ios", "android"], ["windows", "macos"], ["ios", "android"], ["android", "other"]])  # by device
REFERRERS = ("direct", "search", "social", "email", "ads", "internal")
REFERRER_SHARES = (0.35, 0.3, 0.12, 0.08, 0.05, 0.1)
PLACEMENT_SHARES = (0.5, 0.2, 0.2, 0.05, 0.05)  # home, search, product, cart, email

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """One row per session [S], in order of start; each holds one request."""

    user: Ints
    start: Ints  # unix seconds
    device: Ints
    country: Ints
    placement: Ints
    system: npt.NDArray[np.str_]
    referrer: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """Events in columns: the session they belong to, the item, the type and the moment."""

    session: Ints
    item: Ints
    kind: npt.NDArray[np.str_]
    timestamp: Ints
    attributed: npt.NDArray[np.bool_]  # carries the session's request id
    quantity: Ints  # 0 = not stated


def sessions(world: World, rng: np.random.Generator) -> Sessions:
    """Sessions after each user's signup, by hour of day and weekday."""
    user = np.repeat(np.arange(len(world.users.activity)), rng.poisson(world.users.activity))
    start = _moments(len(user), rng)
    keep = start >= world.users.signup_at[user]
    user, start = user[keep], start[keep]
    order = np.lexsort((user, start))
    user, start = user[order], start[order]
    main_device = rng.choice(len(DEVICE_SHARES), len(world.users.activity), p=DEVICE_SHARES)
    n = len(user)
    device = np.where(rng.random(n) < 0.8, main_device[user], rng.choice(len(DEVICE_SHARES), n, p=DEVICE_SHARES))
    abroad = rng.integers(0, int(world.users.country.max()) + 1, n)
    country = np.where(rng.random(n) < 0.03, abroad, world.users.country[user])
    placement = rng.choice(len(PLACEMENT_SHARES), n, p=PLACEMENT_SHARES)
    told = rng.spawn(1)[0]  # what nothing else depends on
    return Sessions(
        user=user,
        start=start,
        device=device,
        country=country,
        placement=placement,
        system=SYSTEMS[device, told.integers(0, 2, n)],
        referrer=told.choice(REFERRERS, n, p=REFERRER_SHARES),
    )


def _moments(n: int, rng: np.random.Generator) -> Ints:
    """Session starts that leave an hour for the session to end inside the window."""
    first_weekday = (window_start() // DAY + 3) % 7
    weight = np.outer(WEEKDAYS[(first_weekday + np.arange(DAYS)) % 7], HOURS).ravel()
    weight[-1] = 0.0
    cell = rng.choice(DAYS * 24, n, p=weight / weight.sum())
    return window_start() + cell * 3600 + rng.integers(0, 3600, n)


class Preferences:
    """Weights of every item for a user at a moment, precomputed per day: freshness changes slowly."""

    def __init__(self, truth: Truth, rng: np.random.Generator) -> None:
        base = truth.base()
        self.truth = truth
        self.taste = np.exp(base - np.log(np.exp(base).sum(1, keepdims=True)))
        noisy = np.exp(0.7 * base + rng.normal(0, 0.8, base.shape).astype(np.float32))
        self.noisy = noisy / noisy.sum(1, keepdims=True)
        self.popular = self.taste.mean(0, keepdims=True)
        noon = window_start() + (np.arange(DAYS) + 0.5) * DAY
        self.fresh = np.exp(freshness((noon[:, None] - truth.created_at[None, :]) / DAY))
        self.threshold = np.quantile(base, 0.95, axis=1)
        self.base = base

    def organic(self, user: Ints, at: Ints) -> Floats:
        """Unnormalised choice weights of browsing: [n, items]."""
        return np.asarray(self.taste[user] * self._exists(at))

    def shown(self, user: Ints, at: Ints) -> Floats:
        """Unnormalised weights of the logging policy: [n, items]."""
        popular, noisy, uniform = MIXTURE
        weight = noisy * self.noisy[user] + popular * self.popular + uniform / self.base.shape[1]
        return np.asarray(weight * self._exists(at) * self.truth.allowed[user])

    def excess(self, user: Ints, item: Ints, at: Ints) -> Floats:
        """How far an item's utility lies above the user's 95th percentile: [n]."""
        fresh = freshness((at - self.truth.created_at[item]) / DAY)
        return np.asarray(self.base[user, item] + fresh - self.threshold[user], np.float32)

    def _exists(self, at: Ints) -> Floats:
        created = self.truth.created_at[None, :] <= at[:, None]
        return np.asarray(self.fresh[(at - window_start()) // DAY] * created)


def impressions(visits: Sessions, preferences: Preferences, rng: np.random.Generator) -> Ints:
    """Items shown in each session's request, in order of position: [S, 20]."""
    shown = [_draw(preferences.shown(visits.user[part], visits.start[part]), rng) for part in _chunks(len(visits))]
    return np.concatenate(shown)


def _draw(weight: Floats, rng: np.random.Generator) -> Ints:
    """20 of the items by weight, without replacement (exponential races): [n, 20]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        race = rng.standard_exponential(weight.shape, np.float32) / weight
    first = np.argpartition(race, SHOWN, axis=1)[:, :SHOWN]
    order = np.argsort(np.take_along_axis(race, first, axis=1), axis=1)
    return np.take_along_axis(first, order, axis=1)


def views(visits: Sessions, preferences: Preferences, mean: float, rng: np.random.Generator) -> Actions:
    """Organic views: items chosen in proportion to exp(true utility), without a request."""
    session = np.repeat(np.arange(len(visits)), rng.poisson(mean, len(visits)))
    at = visits.start[session] + rng.integers(20, 2400, len(session))
    user = visits.user[session]
    parts = _chunks(len(session))
    item = np.concatenate([_choose(preferences.organic(user[p], at[p]), rng) for p in parts])
    return _actions(session, item, "view", at, attributed=False)


def _choose(weight: Floats, rng: np.random.Generator) -> Ints:
    total = np.cumsum(weight, axis=1)
    draw = rng.random(len(weight), np.float32) * total[:, -1] * np.float32(0.9999)
    return np.asarray((total <= draw[:, None]).sum(1), np.int64)


def funnel(world: World, visits: Sessions, shown: Ints, preferences: Preferences, rng: np.random.Generator) -> Actions:
    """Clicks on impressions and what follows them: add_to_cart, favorite, purchase, all with the request id."""
    user = np.repeat(visits.user, SHOWN)
    at = np.repeat(visits.start, SHOWN)
    item = shown.ravel()
    examined = 1 / (1 + 0.12 * np.tile(np.arange(SHOWN), len(visits)))
    excess = preferences.excess(user, item, at)
    clicked = np.flatnonzero(rng.random(len(item)) < examined * _sigmoid(1.6 * excess - 1.0))
    session, item, excess = clicked // SHOWN, item[clicked], excess[clicked]
    at = at[clicked] + 5 + 8 * (clicked % SHOWN) + rng.integers(0, 8, len(clicked))
    intent = 0.5 * excess + world.items.conversion[item] + 0.4 * world.users.premium[user[clicked]]
    carted = np.flatnonzero(rng.random(len(item)) < _sigmoid(intent - 1.4))
    liked = np.flatnonzero(rng.random(len(item)) < _sigmoid(intent - 2.2))
    bought = carted[rng.random(len(carted)) < _sigmoid(intent[carted] - 0.8)]
    steps = (
        _actions(session, item, "click", at),
        _actions(session[carted], item[carted], "add_to_cart", at[carted] + rng.integers(20, 90, len(carted))),
        _actions(session[liked], item[liked], "favorite", at[liked] + rng.integers(10, 90, len(liked))),
        _actions(session[bought], item[bought], "purchase", at[bought] + rng.integers(100, 900, len(bought)),
                 quantity=1 + rng.poisson(0.2, len(bought))),
    )  # fmt: skip
    return join(*steps)


def _sigmoid(x: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return np.asarray(1 / (1 + np.exp(-x)))


def _actions(
    session: Ints, item: Ints, kind: str, at: Ints, attributed: bool = True, quantity: Ints | None = None
) -> Actions:
    n = len(session)
    return Actions(
        session=session,
        item=item,
        kind=np.full(n, kind, "U12"),
        timestamp=at,
        attributed=np.full(n, attributed),
        quantity=np.zeros(n, np.int64) if quantity is None else quantity,
    )


def join(*parts: Actions) -> Actions:
    """Several sets of events as one."""
    return Actions(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in Actions.__slots__})


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, n, CHUNK))
