"""The default encoder: hashed word 1-2-grams, weighted, reduced to a dense vector. Nothing to download.

    x[n, f] = (1 + log count) * idf[f],  rows scaled to length one         idf[f] = 1 + log((N + 1) / (df[f] + 1))
    v[n]    = x[n] @ W                                                     W [F, d]: right singular vectors of x
    encode  = [ v[n] / |v[n]| ,  shape_weight * standardised shape ]       [d + 16]

Only training text decides idf, W and the standardisation (latent semantic analysis, Deerwester et al. 1990). Words
never seen in training fall away; the sixteen shape features (lengths, shares of digits, upper case, brackets ...)
remain, and they are what tells code from prose from a list of options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from routewright.config import Config, parse
from routewright.encoders.base import Arrays, Encoder, Meta, unit
from routewright.encoders.ngrams import SHAPE_NAMES, count
from routewright.errors import RoutewrightError
from routewright.types import Floats, Ints, Vectors

_BUCKETS = 1 << 18
_EXACT_UP_TO = 1200  # texts; beyond it the decomposition is a randomised one
_FIT_ON = 10_000  # training texts the n-gram space is learnt from, evenly spaced over the table
_BLOCK = 4096  # texts encoded at once


class HashingConfig(Config):
    """Options of the hashing encoder."""

    dim: int = Field(256, ge=1, le=2048, description="dimensions kept of the n-gram space")
    min_df: int = Field(2, ge=1, description="training texts an n-gram must occur in")
    max_features: int = Field(50_000, ge=16, description="most frequent n-grams kept")
    shape_weight: float = Field(0.15, ge=0.0, description="weight of a shape feature one deviation off")


class Hashing(Encoder):
    """Hashed 1-2-grams and text shape; see the module."""

    Config = HashingConfig
    kind: ClassVar[str] = "hashing"
    config: HashingConfig

    def __init__(self, config: HashingConfig) -> None:
        super().__init__(config)
        self._column = np.zeros(0, dtype=np.int32)  # [buckets] -> column of x, -1 where never seen
        self._idf: Floats = np.zeros(0)
        self._weights: Vectors = np.zeros((0, 0), dtype=np.float32)  # [F, d]
        self._mean: Floats = np.zeros(0)
        self._scale: Floats = np.zeros(0)

    def fit(self, texts: Sequence[str]) -> None:
        if not texts:
            raise RoutewrightError("The hashing encoder needs at least one training text, got none.")
        if len(texts) > _FIT_ON:
            texts = [texts[i] for i in np.linspace(0, len(texts) - 1, _FIT_ON).astype(int)]
        rows, buckets, counts, shape = _count(texts)
        df = np.bincount(buckets, minlength=_BUCKETS)
        enough = min(self.config.min_df, max(1, len(texts) // 2))
        kept = np.flatnonzero(df >= enough)
        if len(kept) > self.config.max_features:
            kept = np.sort(kept[np.argsort(-df[kept], kind="stable")[: self.config.max_features]])
        self._column = np.full(_BUCKETS, -1, dtype=np.int32)
        self._column[kept] = np.arange(len(kept))
        self._idf = 1 + np.log((len(texts) + 1) / (df[kept] + 1))
        x = self._matrix(rows, buckets, counts, len(texts))
        self._weights = _right_vectors(x, self.config.dim)
        self._mean = shape.mean(axis=0)
        self._scale = np.where(shape.std(axis=0) > 1e-9, shape.std(axis=0), np.inf)

    @property
    def dim(self) -> int:
        return int(self._weights.shape[1]) + len(SHAPE_NAMES)

    def encode(self, texts: Sequence[str]) -> Vectors:
        if not len(self._column):
            raise RoutewrightError(
                "The hashing encoder is not fitted; call fit(training_texts) or load a saved router."
            )
        if len(texts) > _BLOCK:
            return np.vstack([self.encode(texts[at : at + _BLOCK]) for at in range(0, len(texts), _BLOCK)])
        rows, buckets, counts, shape = count(texts, _BUCKETS)
        if len(texts) == 1:
            dense = unit(self._one(buckets, counts)[None])
        else:
            dense = unit(self._matrix(rows, buckets, counts, len(texts)) @ self._weights)
        standard = np.clip((shape - self._mean) / self._scale, -4, 4) * self.config.shape_weight
        return np.hstack([dense, standard.astype(np.float32)])

    def _one(self, buckets: Ints, counts: Floats) -> Vectors:
        """`_matrix` @ W for one text, without making a sparse matrix of it."""
        column = self._column[buckets]
        known = column >= 0
        column = column[known]
        value = (1 + np.log(counts[known])) * self._idf[column]
        norm = np.sqrt(value @ value)
        made: Vectors = (value / (norm or 1.0)).astype(np.float32) @ self._weights[column]
        return made

    def _matrix(self, rows: Ints, buckets: Ints, counts: Floats, n: int) -> sparse.csr_array:
        column = self._column[buckets]
        known = column >= 0
        rows, column = rows[known], column[known]
        value = (1 + np.log(counts[known])) * self._idf[column]
        norm = np.sqrt(np.bincount(rows, weights=value**2, minlength=n))
        value = (value / norm[rows]).astype(np.float32)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])
        return sparse.csr_array((value, column, indptr), shape=(n, len(self._idf)))

    def state(self) -> tuple[Arrays, Meta]:
        arrays: Arrays = {
            "kept": np.flatnonzero(self._column >= 0).astype(np.int32),
            "idf": self._idf,
            "weights": self._weights,
            "mean": self._mean,
            "scale": self._scale,
        }
        return arrays, {"options": self.config.model_dump(), "buckets": _BUCKETS}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> Hashing:
        self = cls(parse(HashingConfig, meta["options"], "saved encoder 'hashing'"))
        self._column = np.full(meta["buckets"], -1, dtype=np.int32)
        self._column[arrays["kept"]] = np.arange(len(arrays["kept"]))
        self._idf, self._weights = arrays["idf"], arrays["weights"]
        self._mean, self._scale = arrays["mean"], arrays["scale"]
        return self


def _count(texts: Sequence[str]) -> tuple[Ints, Ints, Floats, Floats]:
    """`count` in blocks, so that memory does not grow with the bytes of the whole table."""
    parts = [count(texts[at : at + _BLOCK], _BUCKETS) for at in range(0, len(texts), _BLOCK)]
    rows = np.concatenate([part[0] + i * _BLOCK for i, part in enumerate(parts)])
    buckets, counts = (np.concatenate([part[j] for part in parts]) for j in (1, 2))
    return rows, buckets, counts, np.vstack([part[3] for part in parts])


def _right_vectors(x: sparse.csr_array, dim: int) -> Vectors:
    """[F, d] leading right singular vectors of x [N, F]; d is at most its rank."""
    n, f = x.shape
    dim = min(dim, n, f)
    if min(n, f) <= _EXACT_UP_TO:
        from scipy import linalg  # 8 MB that only training needs

        small = (x @ x.T if n <= f else x.T @ x).toarray().astype(np.float64)
        size = len(small)
        values, vectors = linalg.eigh(small, subset_by_index=(size - dim, size - 1))
        good = values > 1e-8 * max(values[-1], 1e-12)
        values, vectors = values[good][::-1], vectors[:, good][:, ::-1]
        right = vectors if f < n else (x.T @ vectors) / np.sqrt(values)
    else:
        from sklearn.utils.extmath import randomized_svd

        _, _, rows = randomized_svd(x, dim, n_iter=2, random_state=0, power_iteration_normalizer="none")
        right = rows.T
    # The sign of a singular vector is arbitrary; fix it so that equal text gives equal vectors everywhere.
    sign = np.sign(right[np.abs(right).argmax(axis=0), np.arange(right.shape[1])])
    return np.ascontiguousarray(right * np.where(sign == 0, 1, sign), dtype=np.float32)
