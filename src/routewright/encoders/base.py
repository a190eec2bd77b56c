"""What an encoder is: text in, one vector a text out.

The loop that calls it:

    encoder = build_encoder("hashing")
    encoder.fit(train_texts)              # training text only; encoders with nothing to learn ignore it
    vectors = encoder.encode(texts)       # [N, dim] float32, any number of texts, any length
    arrays, meta = encoder.state()        # into safetensors and JSON
    same = restore_encoder("hashing", arrays, meta)

Encoding a text never depends on the other texts of the batch.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routewright.config import Config, parse
from routewright.encoders.table import ENCODERS
from routewright.types import Vectors

Arrays = dict[str, NDArray[Any]]
Meta = dict[str, Any]


class Encoder(ABC):
    """Base of the encoders. Subclasses keep their `Config` beside them under the attribute `Config`."""

    Config: ClassVar[type[Config]]
    kind: ClassVar[str]
    fixed: ClassVar[bool] = False
    slow: ClassVar[bool] = False  # milliseconds a text: the engine encodes in a worker
    """Vectors depend on the options alone, never on `fit`, so `encoders/cache.py` may keep them on disk."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def fit(self, texts: Sequence[str]) -> None:  # noqa: B027 - most encoders learn nothing from the table
        """Learn from training text; nothing by default."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> Vectors:
        """[N, dim] float32, finite, one row a text in the order given; an empty text is fine."""

    def parts(self) -> tuple[Encoder, ...]:
        """The encoders whose vectors `join` makes its own; none by default."""
        return ()

    def join(self, vectors: Sequence[Vectors]) -> Vectors:
        """The vectors of `parts`, one array each, as this encoder's."""
        raise NotImplementedError(f"{self.kind} is not made of other encoders.")

    @abstractmethod
    def state(self) -> tuple[Arrays, Meta]:
        """What `restore` needs to encode alike: arrays, and JSON-able facts."""

    def identity(self) -> str:
        """Hash of all that a vector depends on beside the text; for encoders that are `fixed`."""
        arrays, meta = self.state()
        digest = hashlib.sha256(json.dumps([self.kind, meta], sort_keys=True).encode())
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        return digest.hexdigest()

    @classmethod
    @abstractmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> Encoder:
        """The encoder that `state` came from."""


def build_encoder(kind: str, options: Mapping[str, Any] | None = None) -> Encoder:
    """A new, unfitted encoder by name; `UnknownName` or `ConfigError` on bad input."""
    cls = ENCODERS.load(kind)
    return cls(parse(cls.Config, options or {}, f"encoder {kind!r}"))


def restore_encoder(kind: str, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> Encoder:
    """A saved encoder by name."""
    return ENCODERS.load(kind).restore(arrays, meta)


def clip(text: str, longest: int) -> str:
    """The head and the tail of a text that is longer than `longest` characters."""
    half = longest // 2
    return text if len(text) <= longest else text[:half] + " " + text[-half:]


def unit(vectors: Vectors) -> Vectors:
    """Rows scaled to length one; rows of zeros stay."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = np.divide(vectors, np.where(norm > 0, norm, 1.0), dtype=np.float32)
    return scaled
