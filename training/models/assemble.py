"""The assembler: user row, history, context, candidates → the ranker's matrix. The only place crosses exist."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from feature_repo.schema import DAYPARTS, DEVICES, HISTORY, RANKER_WIDTH, SCHEMA
from feature_repo.vectors import GRADE_BITS


class Assembler(nn.Module):
    """One request's user and context and its k candidates → the ranker's rows; no weights.

    user_features [n, U], user_history [n, HISTORY] int64, context_features [n, C], item_key [n, k] int64,
    similarity [n, k], item_features [n, k, I] → [n·k, RANKER_WIDTH].
    """

    def __init__(self) -> None:
        super().__init__()
        columns = [SCHEMA.offset(f.name) + n for f in SCHEMA.group("user") if f.ranker for n in range(f.width)]
        self.register_buffer("user_columns", torch.tensor(columns))

    def forward(
        self,
        user_features: Tensor,
        user_history: Tensor,
        context_features: Tensor,
        item_key: Tensor,
        similarity: Tensor,
        item_features: Tensor,
    ) -> Tensor:
        """Concatenate user, item, context and cross columns, in the schema's order."""
        k = item_features.shape[1]
        user = user_features[:, cast(Tensor, self.user_columns)].unsqueeze(1).expand(-1, k, -1)
        context = context_features.unsqueeze(1).expand(-1, k, -1)
        rows = Rows(user_features, context_features, item_features, similarity)
        crosses = {**_tastes(rows), **_seen(user_history, item_key), **_circumstances(rows)}
        ordered = torch.stack([crosses[f.name] for f in SCHEMA.group("cross")], dim=2)
        return torch.cat([user, item_features, context, ordered], dim=2).reshape(-1, RANKER_WIDTH)


class Rows(NamedTuple):
    """What crosses are made of; a column of the user or the context is [n, 1], one of the items [n, k]."""

    user_rows: Tensor
    context_rows: Tensor
    items: Tensor
    similarity: Tensor

    def user(self, name: str) -> Tensor:
        """A user column: [n, 1]."""
        return self.user_rows[:, SCHEMA.offset(name)].unsqueeze(1)

    def context(self, name: str) -> Tensor:
        """A context column: [n, 1]."""
        return self.context_rows[:, SCHEMA.offset(name)].unsqueeze(1)

    def item(self, name: str) -> Tensor:
        """An item column: [n, k]."""
        return self.items[..., SCHEMA.offset(name)]

    def wide(self, column: Tensor) -> Tensor:
        """A column as float [n, k]."""
        return column.to(torch.float32).expand_as(self.similarity)


def _tastes(rows: Rows) -> dict[str, Tensor]:
    """Crosses of the user's taste and the item: [n, k] each."""
    category = _share_of(rows, "user_category_affinity", "item_category")
    price, ctr = rows.item("item_price"), rows.item("item_ctr_30d")
    return {
        "cross_similarity": rows.similarity,
        "cross_category_affinity": category,
        "cross_brand_affinity": _share_of(rows, "user_brand_affinity", "item_brand"),
        "cross_price_affinity": _share_of(rows, "user_price_affinity", "item_price_band"),
        "cross_text_affinity": _text_affinity(rows),
        "cross_top_category": _top(rows, "user_top_category", "item_category"),
        "cross_top_brand": _top(rows, "user_top_brand", "item_brand"),
        "cross_top_price_band": _top(rows, "user_top_price_band", "item_price_band"),
        "cross_price_ratio": price / (rows.user("user_mean_price_90d") + 1.0),
        "cross_price_above_max": price / (rows.user("user_max_price_90d") + 1.0),
        "cross_affinity_ctr": category * ctr,
        "cross_similarity_ctr": rows.similarity * ctr,
        "cross_recency_trending": rows.item("item_trending") / (1.0 + rows.user("user_days_since_event")),
    }


def _seen(user_history: Tensor, item_key: Tensor) -> dict[str, Tensor]:
    """What the user's history says of each candidate: [n, k] each."""
    keys, grades = user_history & ~GRADE_BITS, (user_history & GRADE_BITS).to(torch.float32)
    met = (item_key & ~GRADE_BITS).unsqueeze(2) == keys.unsqueeze(1)
    same = torch.logical_and(met, (user_history != 0).unsqueeze(1)).to(torch.float32)  # [n, k, HISTORY]
    recency = 1.0 / (1.0 + torch.arange(HISTORY, dtype=torch.float32))
    return {
        "cross_seen_days": same.sum(2),
        "cross_seen_recency": (same * recency).amax(2),
        "cross_seen_grade": (same * grades.unsqueeze(1)).amax(2),
    }


def _circumstances(rows: Rows) -> dict[str, Tensor]:
    """Crosses of the request with the user or the item: [n, k] each."""
    daypart, device = rows.context("context_daypart"), rows.context("context_device")
    segment = rows.user("user_segment") * len(DAYPARTS) + daypart
    country = rows.user("user_country") == rows.context("context_country")
    language = rows.user("user_language") == rows.context("context_language")
    return {
        "cross_same_country": rows.wide(country),
        "cross_same_language": rows.wide(language),
        "cross_daypart_user": rows.wide(_pick(_vector(rows.user_rows, "user_daypart_share"), daypart, len(DAYPARTS))),
        "cross_daypart_item": _daypart_of_item(rows, daypart),
        "cross_device_user": rows.wide(_pick(_vector(rows.user_rows, "user_device_share"), device, len(DEVICES))),
        "cross_segment_daypart": rows.wide(segment),
        "cross_device_weekend": rows.wide(device * 2 + rows.context("context_weekend")),
    }


def _vector(rows: Tensor, name: str) -> Tensor:
    return rows[..., SCHEMA.columns(name)]


def _pick(vectors: Tensor, codes: Tensor, width: int) -> Tensor:
    """The vectors' values at the codes: [n, width], [n, m] → [n, m]."""
    return torch.gather(vectors, 1, codes.to(torch.int64).clamp(0, width - 1))


def _share_of(rows: Rows, vector: str, code: str) -> Tensor:
    """The user's share of the item's code: [n, k]."""
    return _pick(_vector(rows.user_rows, vector), rows.item(code), SCHEMA.by_name[vector].width)


def _top(rows: Rows, user: str, item: str) -> Tensor:
    """1 where the item's code is the user's top one; 0 is no code."""
    code = rows.item(item)
    return torch.logical_and(code == rows.user(user), code > 0).to(torch.float32)


def _text_affinity(rows: Rows) -> Tensor:
    """Cosine of the user's taste and the item's title in reduced space; 0 where one of them is none. [n, k]."""
    taste, text = _vector(rows.user_rows, "user_text_taste"), _vector(rows.items, "item_text")
    product = _sum(text * taste.unsqueeze(1))
    lengths = _sum(text * text) * _sum(taste * taste).unsqueeze(1)
    return product / lengths.sqrt().clamp_min(1e-6)


def _sum(values: Tensor) -> Tensor:
    """Sum over the last dimension, a power of two, half by half: the same bits in every runtime and batch shape."""
    while (half := values.shape[-1] // 2) > 0:
        values = values[..., :half] + values[..., half:]
    return values.squeeze(-1)


def _daypart_of_item(rows: Rows, daypart: Tensor) -> Tensor:
    """The items' share of events in the request's daypart: [n, k]."""
    shares = _vector(rows.items, "item_daypart_share")
    place = daypart.to(torch.int64).clamp(0, len(DAYPARTS) - 1).unsqueeze(2).expand(-1, shares.shape[1], -1)
    return torch.gather(shares, 2, place).squeeze(2)
