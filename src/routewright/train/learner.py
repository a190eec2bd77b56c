"""Episodes of a router that is being trained, played by the engine, as sequences of tokens.

    learner = Learner(sampler)                                # the router, behind the provider's contract
    pool = learner.into(pool, card)                           # a member of the pool like any other
    rolled = await roll(policies, pool, queries, values)      # episodes, each with its Track

The engine plays as it always does: budgets, prices, traces, whatever world. The router's turns come from a `Sampler`, which is the
network in training; turns of episodes that wait at the same time are sampled together. A `Track` is what the router read
and wrote in one episode, token by token, with what it wrote marked: the replies of others carry no loss. Prompts of `r1` begin
with all that came before, so an episode is one sequence; one that does not (a turn that had to be repaired, a
budget that closed) ends the sequence there, and what follows is played but not learnt from.

Needs neither torch nor TRL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

from routewright.episodes.engine import run
from routewright.policies.base import Policy
from routewright.pools.config import CallSettings
from routewright.pools.pool import Endpoint, Member, Pool
from routewright.pools.providers.base import Ask, Completion, Delta, Provider
from routewright.types import Episode, ModelCard, Query, Usage

_TOGETHER_S = 0.005  # so long nobody else has to ask before those who did are sampled
_NEVER = 1e6  # seconds


@dataclass(frozen=True, slots=True)
class Sampled:
    """A continuation: its tokens, the log probability of each, its text without the stop, and with it; how it ended."""

    tokens: list[int]
    logprobs: list[float]
    text: str
    whole: str
    finish: str = "stop"


def ended(tokens: list[int], logprobs: list[float], whole: str, stop: Sequence[str], cut: bool) -> Sampled:
    """A continuation whose text ends before the first stop; `cut`: it was as long as it might be, and had none.

    Example:
        >>> ended([7, 8], [-0.1, -0.2], "A Q\\n", ["\\n"], cut=True)
        Sampled(tokens=[7, 8], logprobs=[-0.1, -0.2], text='A Q', whole='A Q\\n', finish='stop')
    """
    places = [whole.find(s) for s in stop if s in whole]
    text = whole[: min(places)] if places else whole
    return Sampled(tokens, logprobs, text, whole, "length" if cut and not places else "stop")


class Sampler(Protocol):
    """A language model that continues tokens."""

    context: int  # tokens it can hold
    end: int  # the token with which it ends

    def encode(self, text: str) -> list[int]: ...

    def sample(self, prompts: Sequence[Sequence[int]], most: int, stop: Sequence[str]) -> list[Sampled]:
        """A continuation of each prompt, up to a stop text, the model's own end, or `most` tokens."""


@dataclass(slots=True)
class Track:
    """What a router read and wrote in one episode."""

    tokens: list[int] = field(default_factory=list)
    written: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)  # 0 where shown
    opening: int = 0  # tokens before the first that was written
    text: str = ""
    whole: bool = True  # nothing was played that is not here

    def show(self, prompt: str, sampler: Sampler) -> list[int] | None:
        """The tokens of a prompt that goes on from here, now part of the track; None if it does not."""
        if not self.whole or not prompt.startswith(self.text):
            self.whole = False
            return None
        fresh = sampler.encode(prompt[len(self.text) :])
        self._add(fresh, False, [0.0] * len(fresh))
        self.text = prompt
        self.opening = self.opening or len(self.tokens)
        return list(self.tokens)

    def wrote(self, said: Sampled) -> None:
        self._add(said.tokens, True, said.logprobs)
        self.text += said.whole

    def _add(self, tokens: Sequence[int], written: bool, logprobs: Sequence[float]) -> None:
        self.tokens += tokens
        self.written += [written] * len(tokens)
        self.logprobs += logprobs


@dataclass(frozen=True, slots=True)
class Rolled:
    """One episode and its tokens."""

    episode: Episode
    track: Track
    value_usd: float


_TRACK: ContextVar[Track | None] = ContextVar("track", default=None)


class Learner(Provider):
    """The network in training, as a model of the pool."""

    kind: ClassVar[str] = "learner"
    summary: ClassVar[str] = "a network in training"

    def __init__(self, sampler: Sampler, name: str = "router", tracked: bool = True) -> None:
        super().__init__(name=name)
        self.sampler, self.tracked = sampler, tracked
        self.tokens_read = self.tokens_written = 0
        self._waiting: list[tuple[Ask, list[int], asyncio.Future[Sampled]]] = []
        self._pump: asyncio.Task[None] | None = None

    def into(self, pool: Pool, card: ModelCard) -> Pool:
        """The pool with this model in it, instead of one of the same name."""
        calls = CallSettings(concurrency=100_000, deadline_s=_NEVER, retries=0, breaker_failures=0)
        return replace(
            pool, members={**pool.members, card.name: Member(card, Endpoint(card.name, self, calls), card.name)}
        )

    async def complete(self, ask: Ask) -> Completion:
        track = _TRACK.get() if self.tracked else None
        prompt = str(ask.messages[-1]["content"])
        held = len(track.tokens) if track is not None else 0  # what a server would hold still
        tokens = track.show(prompt, self.sampler) if track is not None else None
        on_track = tokens is not None
        if tokens is None:
            tokens, held = self.sampler.encode(prompt), 0
        if len(tokens) >= self.sampler.context:
            return Completion("", Usage(len(tokens), 0), "length")
        done: asyncio.Future[Sampled] = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, tokens, done))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._work())
        said = await done
        if track is not None and on_track:
            track.wrote(said)
        return Completion(said.text, Usage(len(tokens), len(said.tokens), held), said.finish)

    async def stream(self, ask: Ask) -> AsyncIterator[Delta | Completion]:
        done = await self.complete(ask)
        yield Delta(done.text)
        yield done

    async def _work(self) -> None:
        """Sample for all that wait, as long as anybody does."""
        while self._waiting:
            count = -1
            while count != len(self._waiting):
                count = len(self._waiting)
                await asyncio.sleep(_TOGETHER_S)
            batch, self._waiting = self._waiting, []
            first = batch[0][0]
            alike = [b for b in batch if (b[0].max_tokens, b[0].stop) == (first.max_tokens, first.stop)]
            self._waiting += [b for b in batch if b not in alike]
            try:
                said = await asyncio.to_thread(
                    self.sampler.sample, [tokens for _, tokens, _ in alike], first.max_tokens, first.stop
                )
            except BaseException as error:
                for _, _, future in alike:
                    if not future.done():
                        future.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))
                raise
            for (_, tokens, future), one in zip(alike, said, strict=True):
                self.tokens_read += len(tokens)
                self.tokens_written += len(one.tokens)
                if not future.done():
                    future.set_result(one)


async def roll(
    policies: Sequence[Policy], pool: Pool, queries: Sequence[Query], values: Sequence[float], concurrency: int = 256
) -> list[Rolled]:
    """An episode of each query, with its policy and what a right answer to it is worth, in their order."""
    slots = asyncio.Semaphore(concurrency)

    async def one(policy: Policy, query: Query, value_usd: float) -> Rolled:
        async with slots:
            track = Track()
            _TRACK.set(track)
            return Rolled(await run(policy, pool, query, value_usd), track, value_usd)

    return list(await asyncio.gather(*map(one, policies, queries, values)))
