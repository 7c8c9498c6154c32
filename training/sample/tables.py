"""The generated world and its events as the four canonical tables."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.schema import DEVICES, PLACEMENTS
from training.adapters.canonical import SCHEMAS, table
from training.sample.behaviour import SHOWN, Actions, Sessions
from training.sample.words import ADJECTIVES, BRANDS, CATEGORIES, COUNTRIES, LANGUAGES, TIME_ZONES
from training.sample.world import World

Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.str_]

GENDERS = np.array(["female", "male", "other", ""])


def users(world: World) -> pa.Table:
    """The users table; what a user did not state is null."""
    people, n = world.users, len(world.truth.user_ids)
    columns = {
        "user_id": world.truth.user_ids,
        "signup_at": _moments(people.signup_at),
        "age": pa.array(people.age, pa.int32(), mask=people.age == 0),
        "gender": pa.array(GENDERS[people.gender].astype(object), pa.string(), mask=people.gender == 3),
        "country": np.array(COUNTRIES)[people.country],
        "language": np.array(LANGUAGES)[people.country],
        "tier": np.where(people.premium, "premium", "free"),
    }
    return table(SCHEMAS["users"], columns, n)


def items(world: World) -> pa.Table:
    """The items table; null regions mean everywhere."""
    goods, truth = world.items, world.truth
    names = np.array(list(CATEGORIES))[truth.category]
    nouns = [CATEGORIES[name][noun] for name, noun in zip(names, goods.noun, strict=True)]
    brands = np.array(BRANDS)[truth.brand]
    adjectives = np.array(ADJECTIVES)[goods.adjective]
    columns = {
        "item_id": truth.item_ids,
        "category": names,
        "created_at": _moments(truth.created_at),
        "title": [f"{b} {a} {n}" for b, a, n in zip(brands, adjectives, nouns, strict=True)],
        "brand": brands,
        "price": goods.price,
        "tags": [[a, n] for a, n in zip(adjectives, nouns, strict=True)],
        "rating": goods.rating,
        "review_count": goods.review_count,
        "in_stock": goods.in_stock,
        "regions": [None if row.all() else [c for c, ok in zip(COUNTRIES, row, strict=True) if ok]
                    for row in goods.regions],
        "is_safe": goods.is_safe,
    }  # fmt: skip
    return table(SCHEMAS["items"], columns, len(truth.item_ids))


def impressions(world: World, visits: Sessions, shown: Ints) -> pa.Table:
    """One row per item shown; every session holds one request, positions count from 1."""
    session = np.repeat(np.arange(len(visits)), SHOWN)
    columns = {
        "request_id": _names("r", session),
        "user_id": world.truth.user_ids[visits.user[session]],
        "item_id": world.truth.item_ids[shown.ravel()],
        "position": np.tile(np.arange(1, SHOWN + 1, dtype=np.int32), len(visits)),
        "timestamp": _moments(visits.start[session]),
        "placement": np.array(PLACEMENTS[1:])[visits.placement[session]],
        "session_id": _names("s", session),
        **_said(visits, session),
    }
    return table(SCHEMAS["impressions"], columns, len(session))


def events(world: World, visits: Sessions, actions: Actions) -> pa.Table:
    """Events in order of time, without duplicates; organic views carry no request id."""
    a = _distinct(visits, actions)
    session, n = a.session, len(a.session)
    columns = {
        "user_id": world.truth.user_ids[visits.user[session]],
        "item_id": world.truth.item_ids[a.item],
        "event_type": a.kind,
        "timestamp": _moments(a.timestamp),
        "session_id": _names("s", session),
        "request_id": pa.array(_names("r", session).astype(object), pa.string(), mask=~a.attributed),
        **_said(visits, session),
        "price": world.items.price[a.item],
        "quantity": pa.array(a.quantity, pa.int32(), mask=a.quantity == 0),
        "event_id": _names("e", np.arange(n)),
    }
    return table(SCHEMAS["events"], columns, n)


def _said(visits: Sessions, session: Ints) -> dict[str, Strings]:
    """What each session's requests say of themselves."""
    country = visits.country[session]
    return {
        "device": np.array(DEVICES[1:])[visits.device[session]],
        "country": np.array(COUNTRIES)[country],
        "os": visits.system[session],
        "language": np.array(LANGUAGES)[country],
        "time_zone": np.array(TIME_ZONES)[country],
        "referrer": visits.referrer[session],
    }


def _distinct(visits: Sessions, a: Actions) -> Actions:
    key = np.rec.fromarrays([a.timestamp, visits.user[a.session], a.item, a.kind])
    _, first = np.unique(key, return_index=True)
    return Actions(**{name: getattr(a, name)[first] for name in Actions.__slots__})


def _moments(seconds: Ints) -> npt.NDArray[np.datetime64]:
    return (seconds * 1_000_000).astype("datetime64[us]")


def _names(prefix: str, numbers: Ints) -> Strings:
    return np.char.add(prefix, np.char.zfill(numbers.astype("U7"), 7))
