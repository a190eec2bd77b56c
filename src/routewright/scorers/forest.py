"""A forest of extremely randomised trees as plain arrays: grown by scikit-learn, read by NumPy.

    forecast(x)[m] = 1 / T * sum_t value[leaf_t(x), m]

The trees are grown on one set of targets, and the leaves are filled with any other afterwards (`means`): what a split
is chosen by and what a leaf says need not be the same. Rows that a tree did not draw answer for what it would say of
a new row (`out_of_bag`).

Reference: Geurts, Ernst & Wehenkel 2006, extremely randomized trees; Breiman 2001 for bootstrap and out-of-bag rows.
Not here: which targets, and what the forecasts are for (`routewright.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from routewright.types import Floats, Ints

_FEW = 16  # rows whose leaf values are simply gathered
_BLOCK = 256  # rows sent down all trees at once, so that what they touch stays in the cache


@dataclass(frozen=True)
class Forest:
    """T trees in one list of nodes; a leaf points at itself, so every row may take `depth` steps.

    Nodes of tree t follow those of tree t - 1. Leaves are numbered in the order of their nodes.
    """

    feature: NDArray[np.int32]  # [nodes]
    threshold: NDArray[np.float32]  # [nodes]
    child: NDArray[np.int32]  # [2 * nodes] left and right child of node i at 2i and 2i + 1
    root: NDArray[np.int32]  # [T]
    leaf: NDArray[np.int32]  # [nodes] number of the leaf, -1 inside
    depth: int

    @property
    def n_leaves(self) -> int:
        return int(self.leaf.max()) + 1

    def leaves(self, x: Floats) -> Ints:
        """[N, T] the leaf that each row of x [N, D] falls into in each tree."""
        rows = x.astype(np.float32)
        out = np.empty((len(rows), len(self.root)), dtype=np.int64)
        for at in range(0, len(rows), _BLOCK):
            out[at : at + _BLOCK] = self._block(rows[at : at + _BLOCK])
        return out

    def _block(self, x: NDArray[np.float32]) -> NDArray[np.int32]:
        n, width = x.shape
        flat = x.ravel()
        start = np.repeat(np.arange(n, dtype=np.int32) * np.int32(width), len(self.root))
        node = np.tile(self.root, n)
        open_ = np.arange(len(node))
        for step in range(self.depth):
            here = node[open_]
            right = flat[start[open_] + self.feature[here]] > self.threshold[here]
            node[open_] = self.child[2 * here + right]
            if step % 4 == 3:  # most paths end early
                open_ = open_[self.leaf[node[open_]] < 0]
                if not open_.size:
                    break
        found: NDArray[np.int32] = self.leaf[node].reshape(n, -1)
        return found

    def mean(self, x: Floats, values: NDArray[Any]) -> Floats:
        """[N, K] leaf values [leaves, K] averaged over the trees."""
        n_trees = len(self.root)
        leaf = self.leaves(x)
        if len(x) <= _FEW:  # a sparse matrix costs more than it spares
            few: Floats = values[leaf].mean(axis=1, dtype=np.float64)
            return few
        pointer = np.arange(len(x) + 1, dtype=np.int64) * n_trees
        weight = np.full(leaf.size, 1 / n_trees, dtype=np.float32)
        shape = (len(x), self.n_leaves)
        out: Floats = np.asarray(sparse.csr_array((weight, leaf.ravel(), pointer), shape=shape) @ values)
        return out

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "feature": self.feature,
            "threshold": self.threshold,
            "child": self.child,
            "root": self.root,
            "leaf": self.leaf,
            "depth": np.array([self.depth]),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]]) -> Forest:
        a = arrays
        depth = int(a["depth"][0])
        return cls(a["feature"], a["threshold"], a["child"], a["root"], a["leaf"], depth)


def means(leaf: Ints, n_leaves: int, y: Floats, drawn: Floats | None = None) -> Floats:
    """[leaves, K] mean of y [N, K] over the rows in each leaf.

    Args:
        leaf: [N, T] from `Forest.leaves`.
        n_leaves: Of all trees together.
        y: What the leaves shall say.
        drawn: [N, T] how often each tree drew each row; every row once by default.
    """
    n, n_trees = leaf.shape
    weight = np.ones(leaf.size) if drawn is None else drawn.ravel()
    pointer = np.arange(n + 1, dtype=np.int64) * n_trees
    member = sparse.csr_array((weight, leaf.ravel(), pointer), shape=(n, n_leaves))
    size = np.bincount(leaf.ravel(), weights=weight, minlength=n_leaves)
    out: Floats = np.asarray(member.T @ y) / np.maximum(size, 1e-12)[:, None]
    return out


def out_of_bag(leaf: Ints, n_leaves: int, y: Floats, drawn: Floats) -> Floats:
    """[N, K] what the trees that did not draw a row say of it; zero where every tree drew it."""
    n, n_trees = leaf.shape
    values = means(leaf, n_leaves, y, drawn)
    absent = (drawn == 0).astype(np.float64)
    absent /= np.maximum(absent.sum(axis=1, keepdims=True), 1.0)
    pointer = np.arange(n + 1, dtype=np.int64) * n_trees
    asked = sparse.csr_array((absent.ravel(), leaf.ravel(), pointer), shape=(n, n_leaves))
    out: Floats = np.asarray(asked @ values)
    return out


def grow(x: Floats, targets: Floats, n_trees: int, min_leaf: int, share: float, seed: int) -> tuple[Forest, Floats]:
    """Grow trees on targets [N, K]; also [N, T], how often each tree drew each row.

    Args:
        x: [N, D].
        targets: What splits are chosen by, summed over columns: give them the scale they shall count with.
        n_trees: T.
        min_leaf: Rows a leaf holds at least.
        share: Of the D features, how many are tried at a split.
        seed: Decides draws, features and thresholds.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    model = ExtraTreesRegressor(
        n_trees, min_samples_leaf=min_leaf, max_features=share, bootstrap=True, random_state=seed
    ).fit(x.astype(np.float32), targets[:, 0] if targets.shape[1] == 1 else targets)
    drawn = np.stack([np.bincount(rows, minlength=len(x)) for rows in model.estimators_samples_], axis=1).astype(
        np.float64
    )
    trees = [estimator.tree_ for estimator in model.estimators_]
    root = np.cumsum([0] + [tree.node_count for tree in trees])
    child = []
    for first, tree in zip(root, trees, strict=False):
        both = np.stack([tree.children_left, tree.children_right], axis=1)
        itself = np.arange(tree.node_count)[:, None]
        child.append(first + np.where(both < 0, itself, both))
    inside = np.concatenate([tree.children_left for tree in trees]) >= 0
    forest = Forest(
        feature=np.where(inside, np.concatenate([tree.feature for tree in trees]), 0).astype(np.int32),
        threshold=np.concatenate([tree.threshold for tree in trees]).astype(np.float32),
        child=np.concatenate(child).astype(np.int32).ravel(),
        root=root[:-1].astype(np.int32),
        leaf=np.where(inside, -1, np.cumsum(~inside) - 1).astype(np.int32),
        depth=max((tree.max_depth for tree in trees), default=0),
    )
    return forest, drawn
