"""The disk cache: equal vectors, nothing encoded twice, and clear words when the file is bad."""

from __future__ import annotations

import hashlib
import multiprocessing
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routewright.config import Config
from routewright.encoders.base import Encoder, build_encoder
from routewright.encoders.cache import CHUNK, FILE, cache_folder, encode_cached
from routewright.errors import RoutewrightError
from routewright.types import Vectors


class DigestConfig(Config):
    salt: str = ""


class Digest(Encoder):
    """A fixed encoder without a network: eight bytes of a hash. Counts the texts it was asked for."""

    Config = DigestConfig
    kind = "digest"
    fixed = True

    def __init__(self, config: DigestConfig, stop_after: int = 10**9) -> None:
        super().__init__(config)
        self.asked = 0
        self.stop_after = stop_after

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.asked += len(texts)
        if self.asked > self.stop_after:
            raise KeyboardInterrupt
        salted = [(self.config.salt + text).encode("utf-8", "surrogatepass") for text in texts]
        rows = [list(hashlib.sha256(text).digest()[:8]) for text in salted]
        return np.array(rows, dtype=np.float32).reshape(len(texts), 8) / 7

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, self.config.model_dump()

    @classmethod
    def restore(cls, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> Encoder:
        return cls(DigestConfig(**meta))


def digest(salt: str = "", **more: Any) -> Digest:
    return Digest(DigestConfig(salt=salt), **more)


def stored(folder: Path) -> int:
    store = sqlite3.connect(folder / FILE)
    count: int = store.execute("SELECT count(*) FROM vectors").fetchone()[0]
    store.close()
    return count


TEXTS = [f"text {i}" for i in range(3 * CHUNK + 5)] + [
    "",
    "nul \0 inside",
    "half \ud83d pair",
    "text 0",
    "",
    "😀",
]


def test_cached_vectors_are_the_encoders_own_to_the_bit(tmp_path: Path) -> None:
    encoder = digest()
    for _ in range(2):  # cold, then warm
        vectors = encode_cached(encoder, TEXTS, tmp_path)
        assert vectors.dtype == np.float32
        np.testing.assert_array_equal(vectors, digest().encode(TEXTS))
    assert encoder.asked == len(set(TEXTS)) == stored(tmp_path), "a text is encoded once"


def test_only_missing_texts_are_encoded(tmp_path: Path) -> None:
    encode_cached(digest(), TEXTS[:100], tmp_path)
    encoder = digest()
    shuffled = TEXTS[150:40:-1]
    np.testing.assert_array_equal(encode_cached(encoder, shuffled, tmp_path), digest().encode(shuffled))
    assert encoder.asked == 51


def test_no_texts(tmp_path: Path) -> None:
    assert encode_cached(digest(), [], tmp_path).shape == (0, 8)


def test_other_options_are_other_vectors(tmp_path: Path) -> None:
    plain, salted = (encode_cached(digest(salt), ["a"], tmp_path) for salt in ("", "s"))
    assert not np.array_equal(plain, salted)
    assert stored(tmp_path) == 2


def test_what_was_encoded_before_an_interruption_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode_cached(digest(stop_after=2 * CHUNK), TEXTS, tmp_path)
    assert stored(tmp_path) == 2 * CHUNK
    encoder = digest()
    np.testing.assert_array_equal(encode_cached(encoder, TEXTS, tmp_path), digest().encode(TEXTS))
    assert encoder.asked == len(set(TEXTS)) - 2 * CHUNK


def _in_a_process(folder: str) -> float:
    return float(encode_cached(digest(), TEXTS, folder).sum())


def test_processes_share_a_file(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        sums = pool.map(_in_a_process, [str(tmp_path)] * 6)
    assert sums == [float(digest().encode(TEXTS).sum())] * 6
    assert stored(tmp_path) == len(set(TEXTS))


def test_encoders_that_learn_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RoutewrightError, match="'hashing' depend on what it was fitted on"):
        encode_cached(build_encoder("hashing"), ["a"], tmp_path)


@pytest.mark.parametrize("damage", ["not a database", "cut short", "wrong length"])
def test_a_damaged_file_says_to_delete_it(tmp_path: Path, damage: str) -> None:
    encode_cached(digest(), TEXTS, tmp_path)
    path = tmp_path / FILE
    if damage == "not a database":
        path.write_bytes(b"vectors, once" * 1000)
    elif damage == "cut short":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        with sqlite3.connect(path) as store:
            store.execute("UPDATE vectors SET vector = x'00'")
        store.close()
    with pytest.raises(RoutewrightError, match=r"vectors\.sqlite is damaged .* Delete it"):
        encode_cached(digest(), TEXTS, tmp_path)
    path.unlink()
    assert len(encode_cached(digest(), TEXTS, tmp_path)) == len(TEXTS)


def test_a_folder_that_can_not_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RoutewrightError, match="ROUTEWRIGHT_CACHE"):
        encode_cached(digest(), ["a"], tmp_path / "file" / "below")
    (tmp_path / "taken" / FILE).mkdir(parents=True)
    with pytest.raises(RoutewrightError, match="ROUTEWRIGHT_CACHE"):
        encode_cached(digest(), ["a"], tmp_path / "taken")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROUTEWRIGHT_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own"
    encode_cached(digest(), ["a"])
    assert stored(tmp_path / "own") == 1
    monkeypatch.delenv("ROUTEWRIGHT_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "routewright"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "routewright"
