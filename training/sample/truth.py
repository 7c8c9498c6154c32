"""The true utility behind the generated sample: what an oracle would rank by. Never read by training."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deploy.settings import Settings

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

DAY = 86_400
FRESHNESS_WEIGHT = 0.8
FRESHNESS_DAYS = 21.0
FILE = "truth/utility.npz"


def freshness(age_days: npt.NDArray[np.floating]) -> Floats:
    """What being new adds to the utility of an item of this age, in days ≥ 0."""
    return np.asarray(FRESHNESS_WEIGHT * np.exp(-np.maximum(age_days, 0) / FRESHNESS_DAYS), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Components of utility; U users, I items, C categories, B brands; moments in unix seconds."""

    user_ids: npt.NDArray[np.str_]  # [U]
    item_ids: npt.NDArray[np.str_]  # [I]
    category_taste: Floats  # [U, C]
    brand_taste: Floats  # [U, B]
    price_preference: Floats  # [U], in standard deviations of log price
    price_weight: Floats  # [U]
    category: Ints  # [I]
    brand: Ints  # [I]
    price_level: Floats  # [I], standardised log price
    quality: Floats  # [I]
    created_at: Ints  # [I], unix seconds
    allowed: npt.NDArray[np.bool_]  # [U, I], false where the item is not sold in the user's country

    def base(self) -> Floats:
        """Utility without freshness: [U, I]; -inf where the item is not sold in the user's country."""
        taste = self.category_taste[:, self.category] + self.brand_taste[:, self.brand]
        distance = self.price_level[None, :] - self.price_preference[:, None]
        utility = taste - self.price_weight[:, None] * distance**2 + self.quality[None, :]
        return np.where(self.allowed, utility, -np.inf).astype(np.float32)

    def utility(self, at: datetime) -> Floats:
        """True utility of every item for every user at `at` (with a time zone): [U, I]; not yet created = -inf."""
        age = (at.timestamp() - self.created_at) / DAY
        offset = np.where(age >= 0, freshness(age), -np.inf).astype(np.float32)
        return self.base() + offset[None, :]

    def save(self, path: Path) -> None:
        """Write the components as one npz file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{name: getattr(self, name) for name in self.__slots__})


def load(settings: Settings) -> Truth:
    """The truth of the generated sample. Raises FileNotFoundError when the source is not the sample."""
    with np.load(settings.raw / FILE) as stored:
        return Truth(**{name: stored[name] for name in stored.files})
