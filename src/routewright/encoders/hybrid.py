"""Sentence vectors beside hashed n-grams: what a text means, what it says, and what it looks like.

    encode = [ minilm_weight * minilm(text) | hashing(text) ]            [384 + hashing's dim]

The hashed part comes last, so that its last sixteen numbers, the text's shape, stay the last ones. Needs what `minilm`
needs. The sentence vectors of texts that come back are kept in the cache (`vectors_of`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routewright.config import Config, parse
from routewright.encoders.base import Arrays, Encoder, Meta
from routewright.encoders.hashing import Hashing, HashingConfig
from routewright.encoders.minilm import Minilm, MinilmConfig
from routewright.types import Vectors


class HybridConfig(Config):
    """Options of the hybrid encoder."""

    minilm_weight: float = Field(1.0, gt=0, description="length of the sentence vector; the hashed one has length 1")
    minilm: MinilmConfig = Field(default_factory=MinilmConfig, description="options of minilm")
    hashing: HashingConfig = Field(default_factory=HashingConfig, description="options of hashing")


class Hybrid(Encoder):
    """MiniLM and hashing side by side; see the module."""

    Config = HybridConfig
    kind: ClassVar[str] = "hybrid"
    slow: ClassVar[bool] = True
    config: HybridConfig

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        self._minilm = Minilm(config.minilm)
        self._hashing = Hashing(config.hashing)

    def parts(self) -> tuple[Encoder, ...]:
        return self._minilm, self._hashing

    def join(self, vectors: Sequence[Vectors]) -> Vectors:
        sentence, hashed = vectors
        return np.hstack([np.float32(self.config.minilm_weight) * sentence, hashed])

    def fit(self, texts: Sequence[str]) -> None:
        self._hashing.fit(texts)

    def encode(self, texts: Sequence[str]) -> Vectors:
        return self.join([part.encode(texts) for part in self.parts()])

    def state(self) -> tuple[Arrays, Meta]:
        arrays, hashing = self._hashing.state()
        _, minilm = self._minilm.state()
        return arrays, {"options": self.config.model_dump(mode="json"), "hashing": hashing, "minilm": minilm}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> Hybrid:
        minilm = Minilm.restore({}, meta["minilm"])
        options = {**meta["options"], "minilm": minilm.config.model_dump(mode="json")}
        self = cls.__new__(cls)
        Encoder.__init__(self, parse(HybridConfig, options, "saved encoder 'hybrid'"))
        self._minilm, self._hashing = minilm, Hashing.restore(arrays, meta["hashing"])
        return self
