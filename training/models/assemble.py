"""The assembler: user row, context, item rows and similarities → the ranker's matrix. The only place crosses exist."""

from typing import cast

import torch
from torch import Tensor, nn

from feature_repo.schema import RANKER_WIDTH, SCHEMA


class Assembler(nn.Module):
    """user [n, U], context [n, C], similarity [n, k], items [n, k, I] → [n·k, RANKER_WIDTH], no weights."""

    def __init__(self) -> None:
        super().__init__()
        columns = [SCHEMA.offset(f.name) for f in SCHEMA.group("user") if f.ranker]
        self.register_buffer("user_columns", torch.tensor(columns))

    def forward(
        self, user_features: Tensor, context_features: Tensor, similarity: Tensor, item_features: Tensor
    ) -> Tensor:
        """Concatenate user, item, context and cross columns, in the schema's order."""
        k = item_features.shape[1]
        user = user_features[:, cast(Tensor, self.user_columns)].unsqueeze(1).expand(-1, k, -1)
        context = context_features.unsqueeze(1).expand(-1, k, -1)
        crosses = torch.stack(list(_crosses(user_features, context_features, similarity, item_features)), dim=2)
        return torch.cat([user, item_features, context, crosses], dim=2).reshape(-1, RANKER_WIDTH)


def _crosses(user: Tensor, context: Tensor, similarity: Tensor, items: Tensor) -> tuple[Tensor, ...]:
    """The cross features [n, k] each, in the schema's order."""
    category = _affinity(user, "user_category_affinity", items, "item_category")
    price_ratio = _column(items, "item_price") / (_column(user, "user_mean_price_90d").unsqueeze(1) + 1.0)
    recency = 1.0 + _column(user, "user_days_since_event").unsqueeze(1)
    same_country = _column(user, "user_country") == _column(context, "context_country")
    return (
        similarity,
        category,
        _affinity(user, "user_brand_affinity", items, "item_brand"),
        _affinity(user, "user_price_affinity", items, "item_price_band"),
        price_ratio,
        category * _column(items, "item_ctr_30d"),
        _column(items, "item_trending") / recency,
        same_country.to(torch.float32).unsqueeze(1).expand_as(similarity),
    )


def _column(rows: Tensor, name: str) -> Tensor:
    return rows[..., SCHEMA.offset(name)]


def _affinity(user: Tensor, vector: str, items: Tensor, code: str) -> Tensor:
    """The user's share of the item's code: [n, k]."""
    start, width = SCHEMA.offset(vector), SCHEMA.by_name[vector].width
    codes = _column(items, code).to(torch.int64).clamp(0, width - 1)
    return torch.gather(user[:, start : start + width], 1, codes)
