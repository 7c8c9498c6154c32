"""Scoring a forest, as kernels that numba compiles for this machine and keeps on disk.

Most columns of a request are the same in all its rows, since they are of the user and of the moment: `fold` takes the
splits on them out of the trees, once for all rows. What is left of a tree has no more than 64 leaves as a rule, and
`score` finds a row's leaf without walking: a bit for each leaf, left to right; every split that sends the row to the
right clears the leaves on its left, in any order; the lowest bit that stays is the leaf. That is a comparison and an
`and` for 64 rows at once, and no branch.

Lucchese et al., QuickScorer: a fast algorithm to rank documents with additive ensembles of regression trees (2015);
for several rows at once: Exploiting CPU SIMD extensions to speed-up document scoring with tree ensembles (2016).
"""

# mypy: disable-error-code="untyped-decorator"
from typing import Any

import numpy as np
from numba import njit

ROWS = "Array(int32, 2, 'C', readonly=True)"  # numba's name of the bits of rows that Triton lends
LANES = 64  # rows side by side
LEAVES = 64  # bits of a word
ABREAST = 4  # splits that are looked at together; a tree is filled up with splits that let everything pass
MISSING = 2**31 - 1  # what NaN becomes, above every number
INFINITY = 0x7F800000  # bits of float32 infinity
LEAF = -1  # child of a leaf
SAME = -1  # place of a column whose rows are all the same
EVERY = np.uint64(2**64 - 1)
# Its product with 2^i has a number of its own for each i in the top six bits (Leiserson, Prokop and Randall, "Using
# de Bruijn sequences to index a 1 in a computer word", 1998).
DE_BRUIJN, TOP = np.uint64(0x03F79D71B4CB0A89), np.uint64(58)


@njit("i4(i4)", cache=True, nogil=True)
def _ordered(bits: Any) -> Any:
    if bits & np.int32(MISSING) > np.int32(INFINITY):
        return np.int32(MISSING)
    return (bits ^ np.int32(MISSING)) + np.int32(1) if bits < 0 else bits


@njit("i4[::1](i4[::1])", cache=True, nogil=True)
def ordered(bits: Any) -> Any:
    """Float32, given by their bits, as int32 of the same order: both zeros 0, NaN `MISSING`."""
    result = np.empty_like(bits)
    for i in range(len(bits)):
        result[i] = _ordered(bits[i])
    return result


@njit(f"i8({ROWS}, i4[::1], i4[::1])", cache=True, nogil=True)
def look(bits: Any, row: Any, places: Any) -> int:
    """Of rows given by their bits [n, f]: the first one `ordered`, and each column's place [f] among those that vary,
    `SAME` where all rows are the same. Returns how many vary."""
    places[:] = 0
    for i in range(1, len(bits)):
        for column in range(bits.shape[1]):
            places[column] |= bits[i, column] ^ bits[0, column]
    varying = 0
    for column in range(bits.shape[1]):
        row[column] = _ordered(bits[0, column])
        if places[column]:
            places[column] = varying
            varying += 1
        else:
            places[column] = SAME
    return varying


@njit(f"b1({ROWS}, i4[::1], i4[:,:,::1])", cache=True, nogil=True)
def turn(bits: Any, places: Any, lanes: Any) -> bool:
    """The columns that vary, `ordered`, as [blocks, columns, LANES]; lanes past the last row repeat it. Returns whether
    any value of any column is missing."""
    missing = False
    last = len(bits) - 1
    for column in range(len(places)):
        place = places[column]
        if place < 0:
            missing |= _ordered(bits[0, column]) == MISSING
            continue
        for block in range(len(lanes)):
            for lane in range(LANES):
                value = _ordered(bits[min(block * LANES + lane, last), column])
                missing |= value == MISSING
                lanes[block, place, lane] = value
    return missing


@njit(
    "void(i4[::1], i4[::1], i4[::1], f8[::1], i8[::1], i4[::1], i4[::1], "
    "i4[::1], i4[::1], u8[::1], i8[::1], f8[:,::1])",
    cache=True, nogil=True,
)  # fmt: skip
def fold(
    left: Any, features: Any, thresholds: Any, values: Any, starts: Any, row: Any, places: Any,
    columns: Any, limits: Any, masks: Any, ends: Any, leaves: Any,
) -> None:  # fmt: skip
    """The trees without their splits on columns that are the same in all rows as in `row`.

    Trees begin at `starts` [t + 1] in nodes [m]; a right child is the node after its left one. Of what is left: each
    split's column among those that vary, its threshold, the leaves that it keeps on the way right [m + ABREAST * t],
    where each tree's splits end [t], and its leaf values [t, LEAVES] by the hash of their bits. A tree that is left
    with more leaves than that ends at -1 and has no splits.
    """
    pending, firsts = np.empty(len(left), np.int64), np.empty(len(masks), np.int64)
    count = 0
    for tree in range(len(starts) - 1):
        base, begin, found, depth = starts[tree], count, 0, 1
        pending[0] = 0
        while depth:
            depth -= 1
            node = pending[depth]
            if node < 0:  # the left side of split -node - 1 is done
                split = -node - 1
                removed = (np.uint64(1) << np.uint64(found - firsts[split])) - np.uint64(1)
                masks[split] = ~(removed << np.uint64(firsts[split]))
                continue
            while left[base + node] != LEAF and places[features[base + node]] < 0:
                node = left[base + node] + (row[features[base + node]] > thresholds[base + node])
            if left[base + node] == LEAF:
                if found == LEAVES:
                    break
                leaves[tree, ((np.uint64(1) << np.uint64(found)) * DE_BRUIJN) >> TOP] = values[base + node]
                found += 1
                continue
            columns[count], limits[count] = places[features[base + node]], thresholds[base + node]
            firsts[count] = found
            pending[depth] = left[base + node] + 1
            pending[depth + 1] = -count - 1
            pending[depth + 2] = left[base + node]
            count, depth = count + 1, depth + 3
        else:
            while (count - begin) % ABREAST:
                columns[count], limits[count], masks[count] = 0, MISSING, EVERY
                count += 1
            ends[tree] = count
            continue
        count, ends[tree] = begin, -1


@njit("void(i4[:,:,::1], i4[::1], i4[::1], u8[::1], i8[::1], f8[:,::1], i8[::1], f8[:,:,::1])", cache=True, nogil=True)
def score(lanes: Any, columns: Any, limits: Any, masks: Any, ends: Any, leaves: Any, classes: Any, sums: Any) -> None:
    """Add the leaves of all folded trees: `lanes` of `turn`, trees of `fold`, → `sums` [blocks, classes, LANES]."""
    kept = np.empty(LANES, np.uint64)
    for block in range(len(lanes)):
        split = 0
        for tree in range(len(ends)):
            if ends[tree] < 0:
                continue
            kept[:] = EVERY
            while split < ends[tree]:
                c0, l0, m0 = lanes[block, columns[split]], limits[split], masks[split]
                c1, l1, m1 = lanes[block, columns[split + 1]], limits[split + 1], masks[split + 1]
                c2, l2, m2 = lanes[block, columns[split + 2]], limits[split + 2], masks[split + 2]
                c3, l3, m3 = lanes[block, columns[split + 3]], limits[split + 3], masks[split + 3]
                for lane in range(LANES):  # one expression: numba's compiler makes vectors of it
                    kept[lane] &= (
                        (m0 if c0[lane] > l0 else EVERY)
                        & (m1 if c1[lane] > l1 else EVERY)
                        & (m2 if c2[lane] > l2 else EVERY)
                        & (m3 if c3[lane] > l3 else EVERY)
                    )
                split += ABREAST
            for lane in range(LANES):
                kept[lane] = ((kept[lane] & (~kept[lane] + np.uint64(1))) * DE_BRUIJN) >> TOP
            values, total = leaves[tree], sums[block, classes[tree]]
            for lane in range(LANES):
                total[lane] += values[kept[lane]]


@njit(
    f"void({ROWS}, i4[::1], i4[::1], i4[::1], f8[::1], b1[::1], i8[::1], i8[::1], b1[::1], f8[:,::1])",
    cache=True, nogil=True,
)  # fmt: skip
def descend(
    bits: Any, left: Any, features: Any, thresholds: Any, values: Any, default: Any, starts: Any, classes: Any,
    chosen: Any, sums: Any,
) -> None:  # fmt: skip
    """Walk the `chosen` [t] trees as they are, for any value: `default` [m] says which splits send a missing one left.
    Rows given by their bits [n, f] → `sums` [n, classes]."""
    for tree in range(len(classes)):
        if not chosen[tree]:
            continue
        for i in range(len(bits)):
            node = starts[tree]
            while left[node] != LEAF:
                value = _ordered(bits[i, features[node]])
                right = not default[node] if value == MISSING else value > thresholds[node]
                node = starts[tree] + left[node] + right
            sums[i, classes[tree]] += values[node]
