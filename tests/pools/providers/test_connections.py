"""The HTTP client by itself, against servers that write bytes: what parsers of whole replies never see."""

from __future__ import annotations

import asyncio
import gzip
import random
import ssl
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from yarl import URL

from routewright.pools.providers.connections import Connections, Lost, NotConnected, NotHttp, NotSent

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
LOOPS = ["asyncio", "uvloop"]


class Server:
    """Answers each request with the next script: pieces of bytes, a float among them waits, None closes."""

    def __init__(self, *scripts: Sequence[bytes | float | None]) -> None:
        self.scripts, self.heads, self.bodies = list(scripts), list[bytes](), list[bytes]()
        self.connections = 0
        self.closed = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.scripts:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(size))
                for piece in self.scripts.pop(0):
                    if piece is None:
                        return
                    if isinstance(piece, float):
                        await asyncio.sleep(piece)
                    else:
                        writer.write(piece)
                        await writer.drain()
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.closed += 1
            writer.close()


def run(server: Server, body: Callable[[Connections], Awaitable[Any]], loop: str = "asyncio") -> Any:
    async def main() -> Any:
        listening = await asyncio.start_server(server, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        connections = Connections(URL(f"http://127.0.0.1:{port}/v1/x?y=1"), {"User-Agent": "t"}, None)
        try:
            return await asyncio.wait_for(body(connections), 20)
        finally:
            connections.close()
            listening.close()

    if loop == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())
    return asyncio.run(main())


async def post(connections: Connections, body: bytes = b"{}", first_s: float = 10.0) -> bytes:
    answer = await connections.post({"X-More": "1"}, body, 5.0, first_s)
    try:
        parts = []
        while data := await answer.read_some():
            parts.append(data)
        return b"".join(parts)
    finally:
        connections.release(answer)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_connection_is_used_again(loop: str) -> None:
    server = Server(
        [OK], [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"], [OK]
    )

    async def body(connections: Connections) -> list[bytes]:
        return [await post(connections, b"a" * n) for n in (0, 1, 300_000)]

    assert run(server, body, loop) == [b"hello"] * 3
    assert (server.connections, [len(b) for b in server.bodies]) == (1, [0, 1, 300_000])
    head = server.heads[0]
    assert head.startswith(b"POST /v1/x?y=1 HTTP/1.1\r\n")
    for line in (b"Host: 127.0.0.1:", b"User-Agent: t\r\n", b"X-More: 1\r\n", b"Accept-Encoding: identity\r\n"):
        assert line in head


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\n", OK], b"hello"),
        ([b"HTTP/1.0 200 OK\r\n\r\nuntil the", 0.01, b" end", None], b"until the end"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b""),
        ([*(OK[i : i + 1] for i in range(len(OK)))], b"hello"),
        ([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzip.compress(b"a" * 10**6)),
          gzip.compress(b"a" * 10**6)], b"a" * 10**6),
        ([b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(zlib.compress(b"abc")),
          zlib.compress(b"abc")], b"abc"),
    ],
)  # fmt: skip
def test_forms_of_a_reply(script: list[Any], expected: bytes) -> None:
    async def body(connections: Connections) -> list[bytes]:
        return [await post(connections), await post(connections)]

    assert run(Server(script, [OK]), body) == [expected, b"hello"]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([None], Lost),
        ([b"HTTP/1.1 200", None], Lost),
        ([OK[:-1], None], Lost),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", None], Lost),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], NotHttp),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"], NotHttp),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n"], NotHttp),
        ([b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 100) for i in range(1000)) + b"\r\n"], NotHttp),
        ([b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"], NotHttp),
        ([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"], NotHttp),
        ([b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"], (NotHttp, TimeoutError)),
        ([30.0], TimeoutError),
    ],
)  # fmt: skip
def test_replies_that_are_none(script: list[Any], error: Any, loop: str) -> None:
    server = Server(script, [OK])

    async def body(connections: Connections) -> bytes:
        with pytest.raises(error):
            await post(connections, first_s=0.3)
        assert not connections._idle
        assert not connections._busy
        return await post(connections)

    assert run(server, body, loop) == b"hello"
    assert server.connections == 2


def test_what_nobody_asked_for_closes_a_connection() -> None:
    server = Server([OK + OK], [OK, 0.05, b"HTTP/1.1 408 Request Timeout\r\n\r\n"], [OK])

    async def body(connections: Connections) -> list[bytes]:
        first = []
        try:
            first.append(await post(connections))  # two replies in one piece: the first may be read
        except NotHttp:
            first.append(b"hello")
        first.append(await post(connections))
        await asyncio.sleep(0.2)
        first.append(await post(connections))
        return first

    assert run(server, body) == [b"hello"] * 3
    assert server.connections == 3


def test_an_answer_left_unread_closes_its_connection() -> None:
    server = Server([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", 5.0], [OK])

    async def body(connections: Connections) -> bytes:
        answer = await connections.post({}, b"", 5.0, 5.0)
        assert await answer.read_some() == b"hello"
        connections.release(answer)
        return await post(connections)

    assert run(server, body) == b"hello"
    assert server.connections == 2


def test_cancelling_closes_the_connection() -> None:
    server = Server([10.0], [OK])

    async def body(connections: Connections) -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await post(connections)
        return len(connections._busy)

    assert run(server, body) == 0


@pytest.mark.parametrize("loop", LOOPS)
def test_a_reader_that_is_slow_holds_the_sender_up(loop: str) -> None:
    """What waits is bounded: half a megabyte and what the sockets hold, of sixty."""
    size = 60 * 2**20
    server = Server([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, *[bytes(2**20)] * 60])

    async def body(connections: Connections) -> int:
        answer = await connections.post({}, b"", 5.0, 5.0)
        await asyncio.sleep(0.3)
        waiting = answer._size
        got = 0
        while data := await answer.read_some():
            got += len(data)
        connections.release(answer)
        assert got == size
        return waiting

    assert run(server, body, loop) < 4 * 2**20


@pytest.mark.parametrize("loop", LOOPS)
def test_many_at_once(loop: str) -> None:
    rng = random.Random(0)
    texts = [rng.randbytes(rng.randrange(1, 200_000)).hex().encode() for _ in range(40)]

    class Echo(Server):
        async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                said = await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))

    server = Echo()

    async def body(connections: Connections) -> bool:
        for _ in range(3):
            assert await asyncio.gather(*(post(connections, text) for text in texts)) == texts
        return not connections._busy

    assert run(server, body, loop)
    assert server.connections == 40


@pytest.mark.parametrize("loop", LOOPS)
def test_no_connection(loop: str) -> None:
    async def main() -> None:
        for url, reason in [("http://127.0.0.1:9/", ConnectionRefusedError), ("http://nowhere.invalid/", OSError)]:
            with pytest.raises(NotConnected) as caught:
                await post(Connections(URL(url), {}, None))
            assert isinstance(caught.value.reason, reason)
        listening = await asyncio.start_server(lambda _, writer: writer.write(OK), "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(NotConnected) as caught:
            await post(Connections(URL(f"https://127.0.0.1:{port}/"), {}, ssl.create_default_context()))
        assert isinstance(caught.value.reason, ssl.SSLError)
        listening.close()

    if loop == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    else:
        asyncio.run(main())


def test_closing_ends_what_is_read() -> None:
    server = Server([OK[:-1], 10.0])

    async def body(connections: Connections) -> None:
        answer = await connections.post({}, b"", 5.0, 5.0)
        await answer.read_some()
        connections.close()
        with pytest.raises(Lost):
            await answer.read_some()
        with pytest.raises((NotSent, NotConnected)):
            await post(connections)

    run(server, body)


@pytest.mark.parametrize(("name", "value"), [("X", "a\r\nY: b"), ("X\r\nY", "a"), ("X", "a\0")])
def test_no_header_slips_in(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="no header may"):
        Connections(URL("http://127.0.0.1/"), {name: value}, None)

    async def body(connections: Connections) -> None:
        with pytest.raises(ValueError, match="no header may"):
            await connections.post({name: value}, b"", 5.0, 5.0)
        assert not connections._busy

    run(Server(), body)
