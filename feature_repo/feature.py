"""What a feature is: its name, group, kind, storage type, default, where it comes from and who answers for it."""

from dataclasses import dataclass
from typing import Literal

Group = Literal["user", "history", "item", "content", "context", "cross"]
Kind = Literal["scalar", "code", "vector", "shares", "sequence"]
Dtype = Literal["float32", "float16", "uint16", "uint8", "int64"]

CODE_LIMITS = {"uint8": 256, "uint16": 65_536}

CATEGORIES = 32  # codes 0…31 by frequency in the catalogue; 0 = other
BRANDS = 32
PRICE_BANDS = 8  # 0 = no price
COUNTRIES = 677  # two-letter codes, see `schema.country_code`; 0 = unknown
LANGUAGES = 677
HISTORY = 50  # item-days a user's sequence holds, latest first
TEXT_WIDTH = 384  # of the sentence transformer
REDUCED_WIDTH = 16  # its principal components the ranker sees
IMAGE_WIDTH = 32  # principal components of the source's own image vectors
DAYPARTS = ("night", "morning", "afternoon", "evening")  # six hours each, from midnight
DEVICES = ("unknown", "mobile", "desktop", "tablet", "tv")
SYSTEMS = ("unknown", "ios", "android", "windows", "macos", "linux", "other")
PLACEMENTS = ("unknown", "home", "search", "product", "cart", "email")
REFERRERS = ("unknown", "direct", "search", "social", "email", "ads", "internal")
GENDERS = ("unknown", "female", "male", "other")
TIERS = ("unknown", "free", "premium")
SEGMENTS = ("new", "dormant", "browsing", "buying", "loyal")

# Prior of a smoothed rate: (successes + rate × weight) / (trials + weight).
CTR_PRIOR = (0.05, 20.0)
CVR_PRIOR = (0.05, 20.0)
CART_PRIOR = (0.10, 20.0)
FAVORITE_PRIOR = (0.05, 20.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One feature: `width` columns; `cardinality` codes if it is a code. `ranker`: a column of the ranker's matrix.

    `dtype` is what it is stored as; arrays hold it as float32 (sequences as int64), rounded to what `dtype` can say.
    """

    name: str
    group: Group
    description: str
    source: str
    owner: str
    kind: Kind = "scalar"
    dtype: Dtype = "float32"
    default: float = 0.0
    width: int = 1
    cardinality: int = 0
    ranker: bool = True

    def __post_init__(self) -> None:
        if (self.kind in ("vector", "shares", "sequence")) != (self.width > 1):
            raise ValueError(f"feature {self.name}: kind {self.kind} does not fit width {self.width}")
        if (self.kind == "code") != (self.cardinality > 0):
            raise ValueError(f"feature {self.name}: kind {self.kind} does not fit cardinality {self.cardinality}")
        if self.kind == "code" and self.cardinality > CODE_LIMITS.get(self.dtype, 0):
            raise ValueError(f"feature {self.name}: {self.cardinality} codes do not fit {self.dtype}")
        if (self.kind == "sequence") != (self.dtype == "int64"):
            raise ValueError(f"feature {self.name}: kind {self.kind} does not fit dtype {self.dtype}")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its columns: its own, or `name_0` … of a vector."""
        return (self.name,) if self.width == 1 else tuple(f"{self.name}_{i}" for i in range(self.width))
