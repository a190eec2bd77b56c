"""Word 1-2-grams of many texts at once, hashed: the reading half of the `hashing` encoder.

The texts are joined into one byte array and every step (token borders, token hashes, pairs, counts) is a NumPy pass
over it, so the cost is a few nanoseconds a byte and nothing is done per token in Python.

A token is a run of letters (ASCII letters, `_`, and every byte of a non-ASCII character), a run of digits, or one
other visible character. Text is lower-cased first. Digits hash as zeros: a number's length says more than its value.

    h(token) = mix( sum_i  byte_i * P^(n - 1 - i) )         modulo 2^64, P odd
    h(pair)  = mix( h(left) * A + h(right) )

One text alone is read another way, token by token with their hashes remembered, since forty passes over a few hundred bytes
cost more than that: the same numbers in half the time.

Not here: what is done with the counts (`hashing.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from routewright.encoders.base import clip
from routewright.types import Floats, Ints

LONGEST = 2000  # characters read of a text, half from its head and half from its tail

_SPACE, _LETTER, _DIGIT, _OTHER = 0, 1, 2, 3
_P = np.uint64(0x9E3779B97F4A7C15 | 1)
_A = np.uint64(0xC2B2AE3D27D4EB4F)
_MIX = np.uint64(0xFF51AFD7ED558CCD)


def _classes() -> NDArray[np.uint8]:
    table = np.full(256, _OTHER, dtype=np.uint8)
    table[:33] = _SPACE
    table[127] = _SPACE
    table[128:] = _LETTER
    for first, last, kind in (
        ("a", "z", _LETTER),
        ("A", "Z", _LETTER),
        ("0", "9", _DIGIT),
        ("_", "_", _LETTER),
    ):
        table[ord(first) : ord(last) + 1] = kind
    return table


_CLASS = _classes()
_FOLD = np.arange(256, dtype=np.uint64)
_FOLD[ord("0") : ord("9") + 1] = ord("0")
_POWERS = np.cumprod(np.concatenate([[np.uint64(1)], np.full(8 * LONGEST, _P)]), dtype=np.uint64)

SHAPE_NAMES = (
    "log_characters", "log_words", "digit_share", "upper_share", "other_share", "non_ascii_share", "log_lines",
    "log_numbers", "mean_word_length", "question_marks", "brackets", "quotes", "operators", "commas", "colons", "listed",
)  # fmt: skip


_MARKS = ("\n", "?", "()[]{}", "\"'`", "+-*/=<>^%$\\", ",;", ":")  # lines, questions, brackets, quotes, operators ...
_MARK = np.zeros(256, dtype=np.uint8)
for _kind, _characters in enumerate(_MARKS, start=1):
    _MARK[list(_characters.encode())] = _kind


def _mix(h: NDArray[np.uint64]) -> NDArray[np.uint64]:
    h = h ^ (h >> np.uint64(33))
    h = h * _MIX
    return h ^ (h >> np.uint64(29))


def _join(texts: Sequence[str]) -> tuple[NDArray[np.uint8], Ints]:
    """All texts as bytes, one zero byte after each, and where each starts."""
    parts = [clip(t, LONGEST).encode("utf-8", "replace") for t in texts]
    starts = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(p) + 1 for p in parts], out=starts[1:])
    return np.frombuffer(b"\0".join(parts) + b"\0", dtype=np.uint8), starts


def count(texts: Sequence[str], n_buckets: int) -> tuple[Ints, Ints, Floats, Floats]:
    """Hashed 1-2-gram counts and shape features of texts.

    Args:
        texts: N texts; characters beyond `LONGEST` in the middle of a text are not read.
        n_buckets: A power of two; hashes are cut to it.

    Returns:
        rows, buckets: [K] text and bucket of each distinct n-gram, sorted by text.
        counts: [K] how often.
        shape: [N, len(SHAPE_NAMES)] lengths (log1p), shares (of characters) and rates (log1p of counts).
    """
    if not texts:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros(0), np.zeros((0, len(SHAPE_NAMES)))
    if len(texts) == 1:
        return _count_one(texts[0], n_buckets)
    raw, starts = _join(texts)
    upper = (raw >= 65) & (raw <= 90)
    low = np.where(upper, raw + np.uint8(32), raw)
    kind = _CLASS[low]
    # A token starts where the class changes, and at every character of the class "other".
    change = np.ones(len(low), dtype=bool)
    change[1:] = (kind[1:] != kind[:-1]) | (kind[1:] == _OTHER)
    begin = np.flatnonzero(change)
    is_token = kind[begin] != _SPACE
    length = np.diff(np.append(begin, len(low)))
    power = _POWERS[
        np.minimum(length, len(_POWERS) - 1).repeat(length) - 1 - (np.arange(len(low)) - begin.repeat(length))
    ]
    sums = np.add.reduceat(_FOLD[low] * power, begin)
    token_begin = begin[is_token]
    h = _mix(sums[is_token])
    row = np.searchsorted(starts, token_begin, side="right") - 1
    same = row[1:] == row[:-1]
    pair = _mix(h[:-1] * _A + h[1:])[same]
    keys = np.concatenate([h, pair]) & np.uint64(n_buckets - 1)
    rows = np.concatenate([row, row[1:][same]])
    combined = rows * n_buckets + keys.astype(np.int64)
    if len(texts) * n_buckets < 2**31:  # half the bytes sort in half the time
        combined = combined.astype(np.int32)
    combined, counts = np.unique(combined, return_counts=True)
    combined = combined.astype(np.int64)
    shape = _shape(raw, upper, kind, starts, begin[is_token], kind[begin[is_token]], length[is_token], row)
    return combined // n_buckets, combined % n_buckets, counts.astype(np.float64), shape


def _shape(
    raw: NDArray[np.uint8],
    upper: NDArray[np.bool_],
    kind: NDArray[np.uint8],
    starts: Ints,
    token_begin: Ints,
    token_kind: NDArray[np.uint8],
    token_length: Ints,
    row: Ints,
) -> Floats:
    n = len(starts) - 1
    size = np.maximum(np.diff(starts) - 1, 1)

    def per_text(flags: NDArray[np.bool_]) -> Floats:
        return np.add.reduceat(flags, starts[:-1], dtype=np.float64)

    # One count of all kinds of marks at once: [N, kinds].
    text = np.repeat(np.arange(n), np.diff(starts))
    marked = _MARK[raw]
    at = np.flatnonzero(marked)
    marks = np.bincount(text[at] * (len(_MARKS) + 1) + marked[at], minlength=n * (len(_MARKS) + 1))
    marks = np.log1p(marks.reshape(n, -1)[:, 1:].astype(np.float64)).T

    word = token_kind == _LETTER
    words = np.bincount(row[word], minlength=n)
    letters = np.bincount(row[word], weights=token_length[word], minlength=n)
    # Lines, the first one apart, whose second or third byte is ")" or "."; never looking into the next text.
    mark = (raw == 41) | (raw == 46)
    listed = np.zeros(len(raw), dtype=bool)
    here = text[1:-2]
    listed[1:-2] = (raw[:-3] == 10) & ((mark[2:-1] & (text[2:-1] == here)) | (mark[3:] & (text[3:] == here)))
    columns = [
        np.log1p(size),
        np.log1p(words),
        per_text(kind == _DIGIT) / size,
        per_text(upper) / size,
        per_text(kind == _OTHER) / size,
        per_text(raw >= 128) / size,
        marks[0],
        np.log1p(np.bincount(row[token_kind == _DIGIT], minlength=n)),
        letters / np.maximum(words, 1) / 10,
        *marks[1:],
        np.log1p(per_text(listed)),
    ]
    return np.stack(columns, axis=1)


_TOKEN = re.compile(rb"[a-z_\x80-\xff]+|[0-9]+|[!-/:-@\[-^`{-~]")
_NUMBER = re.compile(rb"[0-9]+")
_LISTED = re.compile(rb"(?<=\n)(?=[\s\S](?:[).]|[\s\S][).]))")
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_KINDS = [bytes(np.flatnonzero(kind == _CLASS).tolist()) for kind in (_DIGIT, _OTHER, _LETTER)]
_UPPER, _ASCII = bytes(range(65, 91)), bytes(range(128))


@lru_cache(maxsize=65536)
def _hash_of(token: bytes) -> int:
    """h(token), as above, in Python's integers; remembered, for most words come again."""
    h, most = 0, 2**64 - 1
    for byte in token.translate(_ZEROS):
        h = (h * int(_P) + byte) & most
    h ^= h >> 33
    h = (h * int(_MIX)) & most
    return h ^ (h >> 29)


def _count_one(text: str, n_buckets: int) -> tuple[Ints, Ints, Floats, Floats]:
    """`count` for one text."""
    raw = clip(text, LONGEST).encode("utf-8", "replace")
    low = raw.lower()  # of bytes: ASCII alone
    tokens = _TOKEN.findall(low)
    h = np.array([_hash_of(token) for token in tokens], dtype=np.uint64)
    keys = np.concatenate([h, _mix(h[:-1] * _A + h[1:])]) & np.uint64(n_buckets - 1)
    buckets, counts = np.unique(keys.astype(np.int32 if n_buckets < 2**31 else np.int64), return_counts=True)

    def share(characters: bytes) -> int:
        return len(raw) - len(raw.translate(None, characters))

    size = max(len(raw), 1)
    digits, others, letters = (len(low) - len(low.translate(None, kind)) for kind in _KINDS)
    numbers = len(_NUMBER.findall(low)) if digits else 0
    words = len(tokens) - others - numbers
    marks = [share(characters.encode()) for characters in _MARKS]
    listed = len(_LISTED.findall(raw))
    logs = np.log1p(np.array([size, words, numbers, listed, *marks], dtype=np.float64)).tolist()
    shape = [
        logs[0],
        logs[1],
        digits / size,
        share(_UPPER) / size,
        others / size,
        len(raw.translate(None, _ASCII)) / size,
        logs[4],
        logs[2],
        letters / max(words, 1) / 10,
        *logs[5:],
        logs[3],
    ]
    return (
        np.zeros(len(buckets), dtype=np.int64),
        buckets.astype(np.int64),
        counts.astype(np.float64),
        np.array([shape]),
    )
