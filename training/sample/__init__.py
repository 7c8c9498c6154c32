"""A generated shop: users with tastes, items with qualities, and what happens between them.

Seeded and vectorised; the same (size, seed) gives the same tables. Only for trying the system out and for tests:
what a model reaches on it says nothing about real data.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from training.adapters.source import Source
from training.sample import behaviour, tables, world
from training.sample.truth import Truth

SOURCE = Source(name="sample", has_impressions=True, as_of=world.AS_OF, absent=("image_url", "image_vector"))


def generate(size: str, seed: int) -> tuple[Mapping[str, pa.Table], Truth]:
    """The four canonical tables by name, and the truth behind them. `size` is a key of `world.SIZES`."""
    rng = np.random.default_rng(seed)
    dimensions = world.SIZES[size]
    everything = world.build(dimensions, rng)
    visits = behaviour.sessions(everything, rng)
    preferences = behaviour.Preferences(everything.truth, rng)
    shown = behaviour.impressions(visits, preferences, rng)
    viewed = behaviour.views(visits, preferences, dimensions.views, rng)
    actions = behaviour.join(viewed, behaviour.funnel(everything, visits, shown, preferences, rng))
    return {
        "events": tables.events(everything, visits, actions),
        "impressions": tables.impressions(everything, visits, shown),
        "items": tables.items(everything),
        "users": tables.users(everything),
    }, everything.truth
