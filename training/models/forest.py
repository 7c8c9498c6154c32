"""Three LightGBM boosters interleaved into one `multiclassova` forest: relevance, CTR, CVR in one call.

Tree t of class c stands at position t·3 + c, and class c's output is sigmoid(Σ its trees), which is exactly
sigmoid(raw score) of the booster it came from. Shorter boosters are padded with zero stumps. A monotone map of
the raw score, a·raw + b (Platt scaling, the sampling intercept), folds in exactly: leaves × a, first tree + b.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import lightgbm as lgb

OBJECTIVES = ("relevance", "ctr", "cvr")
_TREE = re.compile(r"^Tree=\d+\n(.*?)(?=^Tree=|^end of trees)", re.MULTILINE | re.DOTALL)
_LEAVES = re.compile(r"^leaf_value=(.*)$", re.MULTILINE)
_STUMP = """num_leaves=1
num_cat=0
split_feature=
split_gain=
threshold=
decision_type=
left_child=
right_child=
leaf_value={value!r}
leaf_weight=
leaf_count=
internal_value=
internal_weight=
internal_count=
is_linear=0
shrinkage=1


"""


class ForestError(ValueError):
    """A booster that cannot be merged: categorical or linear trees, several classes, another feature count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One objective's booster and the affine map of its raw score; `booster=None` is the constant sigmoid(bias)."""

    booster: lgb.Booster | None
    scale: float = 1.0
    bias: float = 0.0


def merge(members: Sequence[Member], feature_names: Sequence[str]) -> lgb.Booster:
    """One booster whose class c predicts sigmoid(scale·raw + bias) of member c. Raises ForestError."""
    blocks = [_trees(member, len(feature_names)) for member in members]
    rounds = max(map(len, blocks))
    padded = [trees + [_STUMP.format(value=0.0)] * (rounds - len(trees)) for trees in blocks]
    ordered = [padded[c][t] for t in range(rounds) for c in range(len(members))]
    trees = [f"Tree={i}\n{block}" for i, block in enumerate(ordered)]
    sizes = " ".join(str(len(tree.encode())) for tree in trees)
    header = _header(len(members), feature_names)
    return lgb.Booster(model_str=f"{header}tree_sizes={sizes}\n\n{''.join(trees)}end of trees\n")


def _header(classes: int, names: Sequence[str]) -> str:
    infos = " ".join("[-inf:inf]" for _ in names)
    return (
        f"tree\nversion=v4\nnum_class={classes}\nnum_tree_per_iteration={classes}\nlabel_index=0\n"
        f"max_feature_idx={len(names) - 1}\nobjective=multiclassova num_class:{classes} sigmoid:1\n"
        f"feature_names={' '.join(names)}\nfeature_infos={infos}\n"
    )


def _trees(member: Member, features: int) -> list[str]:
    if member.booster is None:
        return [_STUMP.format(value=float(member.bias))]
    _check(member.booster, features)
    blocks = _TREE.findall(member.booster.model_to_string(num_iteration=member.booster.best_iteration))
    return [_affine(block, member.scale, member.bias if i == 0 else 0.0) for i, block in enumerate(blocks)]


def _check(booster: lgb.Booster, features: int) -> None:
    text = booster.model_to_string(num_iteration=1)
    if booster.num_model_per_iteration() != 1:
        raise ForestError(f"booster has {booster.num_model_per_iteration()} trees per iteration, expected 1")
    if booster.num_feature() != features:
        raise ForestError(f"booster has {booster.num_feature()} features, expected {features}")
    if re.search(r"^num_cat=[1-9]", text, re.MULTILINE):
        raise ForestError("booster has categorical splits; encode categories as numbers")


def _affine(block: str, scale: float, bias: float) -> str:
    def mapped(match: re.Match[str]) -> str:
        values = (float(value) * scale + bias for value in match.group(1).split())
        return "leaf_value=" + " ".join(repr(value) for value in values)

    return _LEAVES.sub(mapped, block)
