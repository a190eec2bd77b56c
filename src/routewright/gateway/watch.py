"""A policy under watch: whatever it does, a request is answered within its deadline.

    policy = Watched(coordinator.policy)
    policy.open()                       # `LeftAlone` while it is left alone
    await policy.ready(query, 5.0)      # a slow encoder reads the query, in a worker; `Unfit` if that takes too long
    await run(policy, ...)              # decides; `Unfit` for what it raises, and for what takes too long

A policy that decides on the event loop can not be interrupted there. So the promise is: the first decision that takes
longer than `decide_s` holds the loop; from then on that policy decides in a worker, and is waited for no longer than that.
After three overruns in a row it is left alone for half a minute: its requests are served by one call at once.

Workers are the policy's own, a few: one that hangs takes none from the rest of the gateway.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from queue import SimpleQueue
from threading import Lock, Semaphore, Thread
from typing import Any, TypeVar

import numpy as np

from routewright.errors import EpisodeError
from routewright.gateway.together import Together
from routewright.policies.base import Policy, Wish
from routewright.types import Answer, Call, Decision, Generate, Plan, Query, Reply, State, Think

_IN_A_ROW, _ALONE_S = 3, 30.0
_WORKERS = 4
T = TypeVar("T")


class Unfit(Exception):
    """Why a policy can not serve a request, as the client may read it. The cause is attached."""


class LeftAlone(Unfit):
    """It was too slow of late. Said once where it happened; not for every request since."""


class Watched(Policy):
    """Another policy, timed; see the module."""

    summary = "another policy, timed"

    def __init__(self, inner: Policy, decide_s: float = 1.0) -> None:
        super().__init__(inner.config, inner.seed)
        self.inner, self.decide_s = inner, decide_s
        self.kind = inner.kind  # type: ignore[misc]
        self.supports = inner.supports  # type: ignore[misc]
        self._slow = False  # it has overrun on the loop
        self._overruns = 0  # in a row
        self._alone_until = 0.0
        self._workers: Workers | None = None
        self._together = Together(inner.prepare)

    @property
    def blocking(self) -> bool:
        return self._slow or self.inner.blocking

    @property
    def least_tokens(self) -> int | None:
        return self.inner.least_tokens

    @property
    def random(self) -> bool:
        return self.inner.random

    def open(self) -> None:
        """Pass, or raise `LeftAlone`."""
        if self._overruns >= _IN_A_ROW and time.monotonic() < self._alone_until:
            raise LeftAlone(f"{self.kind} is left alone after {self._overruns} decisions that took too long")

    async def ready(self, query: Query, within_s: float, alone: bool = True) -> None:
        """Have a slow encoder read the query, within its deadline; the decision finds it done.

        A quick one reads queries together that come together, unless this one is known to be `alone`.
        """
        if not self.inner.blocking:
            if alone or self._slow or self.inner.forecaster is None:
                return
            if await self._together.ask(query) > self.decide_s:
                self._slow = True
                self._overran()
            return
        work = self._submit(self.inner.prepare, [query])
        try:
            async with asyncio.timeout(within_s):
                await asyncio.wrap_future(work)
        except TimeoutError:
            self._overran()
            raise Unfit(f"{self.kind} was not ready within {within_s:g} s") from None

    def prepare(self, queries: Sequence[Query]) -> None:
        """Done in `ready`, with a deadline."""

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        if not self.blocking:
            began = time.perf_counter()
            wishes = self._safely(self._decide, states, rng)
            if time.perf_counter() - began > self.decide_s:
                self._slow = True
                self._overran()
            elif self._overruns:
                self._overruns = 0
            return wishes
        work = self._submit(self._decide, states, rng)  # the engine's worker waits here
        try:
            wishes = work.result(self.decide_s)
        except Late:
            work.cancel()
            self._overran()
            raise Unfit(f"{self.kind} did not decide within {self.decide_s:g} s") from None
        self._overruns = 0
        return wishes

    def parse(self, reply: Reply, state: State) -> Wish:
        return self._safely(lambda: _sane([self.inner.parse(reply, state)], 1)[0])

    def _decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return _sane(self.inner.decide(states, rng), len(states))

    def _safely(self, do: Callable[..., T], *given: Any) -> T:
        """What a policy raises says nothing about the request: not a budget's end, not a client that has gone."""
        try:
            return do(*given)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise Unfit(f"{self.kind} failed ({type(error).__name__})") from error

    def _overran(self) -> None:
        self._overruns += 1
        self._alone_until = time.monotonic() + _ALONE_S

    def close(self) -> None:
        """Let the workers go; one that hangs is not waited for."""
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.close()

    def _submit(self, do: Callable[..., T], *given: Any) -> Future[T]:
        if self._workers is None:
            self._workers = Workers(_WORKERS, f"routewright-{self.kind}")
        return self._workers.submit(self._safely, do, *given)


def _sane(wishes: Any, n: int) -> list[Wish]:
    """What a policy wants, if it is of the types that the engine goes by; `EpisodeError` if not."""
    if not isinstance(wishes, list) or len(wishes) != n:
        raise EpisodeError("The policy gave no list of one wish a state.")
    for wish in wishes:
        action = wish.action if isinstance(wish, Decision) else wish
        if not isinstance(action, Generate if action is wish else Think | Call | Plan | Answer):
            raise EpisodeError(f"The policy wants a {type(action).__name__}. Expected a Decision or a Generate.")
        for call in action.calls if isinstance(action, Plan) else (action,):
            if isinstance(call, Call) and not (
                isinstance(call.model, str | None)
                and isinstance(call.prompt, str | None)
                and isinstance(call.max_tokens, int | None)
            ):
                raise EpisodeError("The policy's call has a model, a prompt or a limit of another type.")
    return wishes


class Workers:
    """A few threads that nobody waits for: one that hangs keeps no process from ending."""

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._work: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._free = Semaphore(0)
        self._threads = 0
        self._lock = Lock()

    def submit(self, do: Callable[..., T], *given: Any) -> Future[T]:
        """Have something done when a thread is free."""
        done: Future[T] = Future()
        self._work.put((done, do, given))
        with self._lock:
            if not self._free.acquire(blocking=False) and self._threads < self._most:
                self._threads += 1
                Thread(target=self._run, name=self._name, daemon=True).start()
        return done

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            done, do, given = item
            if done.set_running_or_notify_cancel():
                try:
                    done.set_result(do(*given))
                except BaseException as error:
                    done.set_exception(error)
            del item, done, do, given
            self._free.release()

    def close(self) -> None:
        """Let the threads end, each after what it does now."""
        for _ in range(self._threads):
            self._work.put(None)
