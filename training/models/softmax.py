"""The towers' loss: softmax over sampled items, corrected for how they were sampled."""

import torch
from torch import Tensor, nn

WARMEST, COLDEST = 0.01, 1.0  # of the temperature


def sampled_softmax(
    similarity: Tensor, log_temperature: Tensor, log_q: Tensor, targets: Tensor, ignored: Tensor | None = None
) -> Tensor:
    """Mean loss of rows [b, c] of similarities to c sampled items (Yi et al., RecSys 2019, eq. 5).

    `targets` [b]: the column of each row's positive; `log_q` [c]: log probability that sampling takes the item;
    `ignored` [b, c]: what is no negative of a row.
    """
    logits = similarity / log_temperature.exp().clamp(WARMEST, COLDEST) - log_q
    if ignored is not None:
        logits = logits.masked_fill(ignored, -1e9)
    return nn.functional.cross_entropy(logits, targets)


def log_mixed(share: Tensor, positives: int, uniform: float) -> Tensor:
    """Log probability that an item is among mixed negatives (Yang et al., WWW 2020): a batch's items and uniform ones.

    `share` [n]: the items' shares of all positives; `positives`: how many a batch has; `uniform`: the share of the
    catalogue that is drawn besides, without replacement.
    """
    return torch.log(1.0 - (1.0 - share).pow(positives) * (1.0 - uniform))
