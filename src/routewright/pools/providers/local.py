"""`local`: llama.cpp in this process, on a GGUF file, without a server to start. Needs the extra `local`.

Not here: the chat protocol, which llama.cpp speaks itself (`wire.py`). Called by `routewright.pools.caller` through
`Provider`. The model is loaded on the first call and shared by all later ones; generation runs in threads, one a slot,
and its pieces are handed to the event loop.

A cancelled call stops llama.cpp at the next token; while a prompt is still being read, at its first. The library opens
a port on the loopback interface for its own web server: it gets a random port and a random key that nobody is told.
Not covered: images, LoRA adapters, speculative decoding.

Source: `xllamacpp.Server.handle_chat_completions(body, callback)`: bytes in, a callback for every event of the stream,
which returns True to stop.
"""

from __future__ import annotations

import asyncio
import importlib
import secrets
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from pydantic import Field

from routewright import config
from routewright.errors import MissingExtra, PoolError, ProviderError, RoutewrightError
from routewright.pools.providers.base import Ask, Completion, Delta, Provider
from routewright.pools.providers.faults import fault_of_status
from routewright.pools.providers.http import encode
from routewright.pools.providers.wire import Assembler, chat_body, malformed, read_chunk


class Local(Provider):
    """A GGUF file run by llama.cpp. What llama.cpp refuses is a `ProviderError`, a file it can not load a `PoolError`."""

    kind = "local"
    summary = "llama.cpp in this process, on a GGUF file"

    class Config(config.Config):
        path: str = Field(description="GGUF file")
        threads: int = Field(1, ge=1, description="threads that compute; more than free cores makes it slower")
        context_tokens: int = Field(4096, ge=16, description="longest prompt and reply of one call together, tokens")
        slots: int = Field(1, ge=1, description="calls at once; each has its own context in memory")
        gpu_layers: int = Field(0, ge=0, description="layers to keep on a graphics card, if the library was built so")
        chat_template: str = Field("", description="Jinja template to use instead of the file's own")

    def __init__(self, config: Any = None, name: str = "") -> None:
        super().__init__(config, name)
        self._lock = threading.Lock()
        self._server: Any = None
        self._threads: ThreadPoolExecutor | None = None
        self._running: set[threading.Event] = set()

    @property
    def address(self) -> str:
        """The file."""
        return str(self.config.path)

    def check(self) -> None:
        """`PoolError` if the file is not there."""
        if not Path(self.config.path).is_file():
            raise PoolError(
                f"{self.name}: there is no file {self.config.path!r}. Expected a GGUF file; download one, or set path."
            )

    async def complete(self, ask: Ask) -> Completion:
        """The whole reply; `ProviderError` if there is none."""
        async with aclosing(self.stream(ask)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Completion):
                    return piece
        raise malformed(self.name, "llama.cpp said nothing")

    async def stream(self, ask: Ask) -> AsyncGenerator[Delta | Completion, None]:
        """Pieces as they come, then the whole."""
        asked = chat_body(ask, stream=True)
        asked.setdefault("temperature", 0)  # in this process the default is ours: the greedy answer
        body = encode(asked, self.name)
        loop, stop = asyncio.get_running_loop(), threading.Event()
        came: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()

        def tell(news: bytes | BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop may have closed
                loop.call_soon_threadsafe(came.put_nowait, news)

        def ended(work: Future[None]) -> None:
            tell(CancelledError() if work.cancelled() else work.exception())

        so_far = Assembler()
        self._running.add(stop)
        work = self._workers().submit(self._generate, body, tell, stop)
        work.add_done_callback(ended)
        try:
            while (news := await came.get()) is not None:
                if isinstance(news, BaseException):
                    raise self._fault(news)
                chunk = read_chunk(news, self.name)
                if chunk.error:
                    raise self._refusal(chunk.error)
                if delta := so_far.add(chunk):
                    yield delta
            if not so_far.finished:
                partial = so_far.completion() if so_far.started else None
                said = f"{self.name}: llama.cpp stopped before the reply was whole."
                raise ProviderError(said, "cut", retryable=True, partial=partial)
            yield replace(so_far.completion(), served_by=ask.model)
        finally:
            stop.set()
            self._running.discard(stop)
            work.cancel()

    async def aclose(self) -> None:
        """Stop what runs and free the model; a later call loads it again."""
        threads, self._threads = self._threads, None
        for stop in self._running:
            stop.set()
        if threads is not None:
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)
            held, self._server = [self._server], None
            await asyncio.to_thread(held.clear)  # the last reference goes in a thread: freeing waits for llama.cpp

    def _workers(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.config.slots, thread_name_prefix=f"routewright-{self.name}")
        return self._threads

    def _generate(self, body: bytes, tell: Any, stop: threading.Event) -> None:
        """In a thread: run one call and tell the loop of every event. llama.cpp gives Python's lock back meanwhile."""

        def take(event: bytes) -> bool:
            if not stop.is_set():
                tell(event)
            return stop.is_set()

        server = self._load()
        if stop.is_set():  # closed while it waited
            raise CancelledError
        server.handle_chat_completions(body, take)

    def _load(self) -> Any:
        with self._lock:
            if self._server is None:
                self._server = self._load_now()
            return self._server

    def _load_now(self) -> Any:
        try:
            library = importlib.import_module("xllamacpp")
        except ImportError as error:
            raise MissingExtra("The provider `local`", "xllamacpp", "local") from error
        self.check()
        config = self.config
        params = library.CommonParams()
        params.model.path = config.path
        params.n_ctx = config.context_tokens * config.slots  # llama.cpp shares it out
        params.n_parallel = config.slots
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = config.threads
        params.n_gpu_layers = config.gpu_layers
        params.fit_params = False
        params.warmup = False
        params.verbosity = -1
        params.hostnames, params.port, params.ui = ["127.0.0.1"], 0, False
        params.api_keys = [secrets.token_urlsafe(24)]
        if config.chat_template:
            params.chat_template = config.chat_template
        try:
            return library.Server(params)
        except (RuntimeError, ValueError) as error:
            raise PoolError(
                f"{self.name}: llama.cpp can not load {config.path!r} ({error}). Expected a whole GGUF file of a model "
                f"it knows, and memory for {config.slots} x {config.context_tokens} tokens of context."
            ) from error

    def _fault(self, error: BaseException) -> BaseException:
        """What came out of the thread, as what the caller understands."""
        if isinstance(error, CancelledError):
            return ProviderError(f"{self.name}: closed before the call began.", "connect", reached=False)
        if isinstance(error, RoutewrightError) or not isinstance(error, RuntimeError | ValueError):
            return error
        return ProviderError(f"{self.name}: llama.cpp refused the request ({error}).", "refused", reached=False)

    def _refusal(self, error: Any) -> ProviderError:
        code = error.get("code") if isinstance(error, dict) else None
        said = msgspec.json.encode({"error": error})
        return fault_of_status(code if isinstance(code, int) and code >= 400 else 500, said, {}, self.name)
