"""A headless Chromium, driven over its DevTools protocol; a new profile each time, and nothing asked of the network."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def chromium() -> str:
    """Where it is; without it skip (fail in CI)."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        reason = "needs chromium on the path"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Refused(Exception):
    """What the browser would not do, as it will not while a page goes."""


class Tab:
    """One page. `errors` holds everything its console called an error."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._loaded = asyncio.Event()
        self.errors: list[str] = []

    async def listen(self) -> None:
        """Until the connection ends."""
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._waiting.pop(told["id"]).set_result(told)
                continue
            method, facts = told["method"], told["params"]
            if method == "Page.loadEventFired":
                self._loaded.set()
            elif method == "Runtime.exceptionThrown":
                self.errors.append(str(facts["exceptionDetails"].get("exception", facts["exceptionDetails"]["text"])))
            elif method == "Log.entryAdded" and facts["entry"]["level"] == "error":
                self.errors.append(f"{facts['entry']['text']} {facts['entry'].get('url', '')}")
            elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "assert"):
                self.errors.append(str(facts["args"]))

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        done = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        told = await asyncio.wait_for(done, 30)
        if "error" in told:
            raise Refused(str(told["error"]))
        result: dict[str, Any] = told["result"]
        return result

    async def shape(self, width: int, height: int, dark: bool = False) -> None:
        """The size of the window, and whether its reader likes it dark."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def open(self, url: str) -> None:
        """Go there, and wait until all of it is loaded."""
        self._loaded.clear()
        await self.send("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), 30)

    async def run(self, script: str) -> Any:
        """What an expression gives; a promise is waited for."""
        told = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def until(self, script: str, within_s: float = 20.0) -> Any:
        """Wait until an expression holds, on this page or on the next; what it gives."""
        async with asyncio.timeout(within_s):
            while True:
                with contextlib.suppress(Refused):
                    if found := await self.run(f"document.body !== null && ({script})"):
                        return found
                await asyncio.sleep(0.02)

    async def picture(self, whole: bool = True) -> bytes:
        """A PNG of the page."""
        told = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(told["data"])

    async def overflow(self) -> list[str]:
        """What reaches beyond the window's right edge, unless it stands in a box that scrolls."""
        found = await self.run(
            """(() => { const wide = document.documentElement.clientWidth, out = [];
            if (document.documentElement.scrollWidth > wide) out.push("the page: " + document.documentElement.scrollWidth);
            for (const one of document.body.querySelectorAll("*")) {
              if (one.closest(".scroll, .hidden, svg")) continue;
              const box = one.getBoundingClientRect();
              if (box.width && box.right > wide + 0.5) out.push(one.tagName + "." + one.className + " " + box.right);
            } return out; })()"""
        )
        return list(found)


@asynccontextmanager
async def tab(width: int = 1280, height: int = 900, dark: bool = False) -> AsyncIterator[Tab]:
    """A tab of a browser of its own, and its end."""
    program, profile = chromium(), Path(tempfile.mkdtemp(prefix="routewright-chromium-"))
    child = await asyncio.create_subprocess_exec(
        program,
        *_FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        said = profile / "DevToolsActivePort"
        async with asyncio.timeout(30):
            while not (said.exists() and said.read_text().count("\n")):
                assert child.returncode is None, "chromium did not start"
                await asyncio.sleep(0.02)
        port = int(said.read_text().splitlines()[0])
        async with aiohttp.ClientSession() as session:
            targets = await (await session.get(f"http://127.0.0.1:{port}/json")).json()
            address = next(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                made = Tab(socket)
                listening = asyncio.ensure_future(made.listen())
                for part in ("Page", "Runtime", "Log"):
                    await made.send(f"{part}.enable")
                await made.shape(width, height, dark)
                yield made
                listening.cancel()
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
        shutil.rmtree(profile, ignore_errors=True)
