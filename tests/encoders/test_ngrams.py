"""One text alone is read another way than many: it has to be the same to the last bit."""

from __future__ import annotations

import random

import numpy as np
import pytest

from routewright.encoders import ngrams
from routewright.encoders.hashing import Hashing, HashingConfig

PARTS = [
    *"abcXYZ019 _-.)(?\n\t,;:'\"`%$\\^#@~|é漢Ü\x00\x7f\u2028\ud800",
    "the ",
    "12) ",
    "\n3. ",
    "foo_bar",
    "99bottles",
]


def texts(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    made = ["".join(rng.choices(PARTS, k=rng.randrange(60))) for _ in range(n)]
    return [text * rng.randrange(1, 90) if i % 50 == 0 else text for i, text in enumerate(made)]


@pytest.mark.parametrize("seed", range(3))
def test_one_text_is_read_as_many_are(seed: int) -> None:
    for text in ["", " ", "\n", "a", "1", ".)", *texts(700, seed)]:
        rows, buckets, counts, shape = ngrams.count([").", text, ".)"], 1 << 18)
        alone = ngrams.count([text], 1 << 18)
        mine = rows == 1
        assert np.array_equal(alone[1], buckets[mine]), repr(text)
        assert np.array_equal(alone[2], counts[mine])
        assert np.array_equal(alone[3][0], shape[1])


def test_a_vector_does_not_depend_on_its_company() -> None:
    encoder = Hashing(HashingConfig(dim=16))
    encoder.fit(texts(300, 7))
    some = ["", "never seen before", *texts(100, 8)]
    together = encoder.encode(some)
    alone = np.vstack([encoder.encode([text]) for text in some])
    assert np.allclose(together, alone, atol=1e-6)
