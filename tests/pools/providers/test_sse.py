"""Server-sent events out of bytes that are cut anywhere."""

from __future__ import annotations

import random
import time

import pytest

from routewright.pools.providers.sse import Events

STREAM = (
    "\ufeffdata: first\n\n"
    ": a comment\n"
    "data: one\ndata:two\ndata\n\n"
    'event: named\nid: 7\nretry: 100\ndata: {"a": "grün 🌍"}\n\n'
    "\n\n\n"
    "data:  two spaces\n\n"
    "data: [DONE]\n\n"
)
EXPECTED = ["first", "one\ntwo\n", '{"a": "grün 🌍"}', " two spaces", "[DONE]"]


def read(pieces: list[bytes]) -> list[str]:
    parser = Events()
    found = [data for piece in pieces for data in parser.feed(piece)]
    return [data.decode() for data in found + parser.end()]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_any_cut_gives_the_same_events(ending: str) -> None:
    data = STREAM.replace("\n", ending).encode()
    assert read([data]) == EXPECTED
    assert read([data[i : i + 1] for i in range(len(data))]) == EXPECTED
    for seed in range(50):
        cuts = sorted(random.Random(seed).sample(range(len(data)), 12))
        assert read([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]) == EXPECTED


def test_an_event_without_the_empty_line_counts_at_the_end() -> None:
    assert read([b"data: a\n\ndata: b\n"]) == ["a", "b"]
    assert read([b"data: a\n\ndata: b"]) == ["a", "b"]
    assert read([b""]) == []


def test_pending_is_what_is_held() -> None:
    parser = Events()
    parser.feed(b"data: 1234")
    assert parser.pending == len(b"data: 1234")
    parser.feed(b"\ndata: 5")
    assert parser.pending == len(b" 1234") + len(b"data: 5")
    parser.feed(b"\n\n")
    assert parser.pending == 0


def test_a_long_line_in_small_pieces_takes_linear_time() -> None:
    """Ten times the bytes took 9 to 11 times as long where this was written; a quadratic parser takes 100 times."""

    def seconds(n: int) -> float:
        parser, piece = Events(), b"x" * 16
        parser.feed(b"data: ")
        start = time.process_time()
        for _ in range(n):
            parser.feed(piece)
        assert len(parser.feed(b"\n\n")[0]) == 16 * n
        return time.process_time() - start

    short = min(seconds(10_000) for _ in range(3))
    assert min(seconds(100_000) for _ in range(3)) < 40 * short
