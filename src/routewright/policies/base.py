"""What a policy is: states in, decisions out.

The loop that calls it (`routewright.episodes.engine`):

    policy.prepare([query])                       # if it is `blocking`: once an episode, in a worker, as is `decide`
    wish = policy.decide([state], rng)[0]         # Decision: the engine carries it out
    while isinstance(wish, Generate):             # or Generate: the engine has a model write it, at the policy's cost,
        reply = ...
        wish = policy.parse(reply, state)         # and hands the reply back

`decide` is batched: one wish per state. A policy never calls a model itself, keeps nothing about an episode between
calls (the state holds it all), and serves every trade-off: `value_usd` is part of the state.

`ArrayPolicy` is for policies over arrays: they fill `act`, which sees an `Observation` of B episodes and numbers its
actions, and run unchanged in the batched recorded world, where they are trained and judged.
"""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from routewright.config import Config, parse
from routewright.encoders.base import Arrays, Meta
from routewright.errors import EpisodeError, RouterError
from routewright.outcomes.arrays import Outcomes
from routewright.policies.observe import LAST, VOTE, Observation, facts_of, observe
from routewright.policies.table import POLICIES
from routewright.types import (
    Answer,
    Bools,
    Call,
    Decision,
    Episode,
    Floats,
    Forecast,
    Generate,
    Ints,
    Query,
    Reply,
    State,
)

Wish = Decision | Generate
SUPPORTABLE = ("tools", "images", "json", "n", "logprobs")
_REMEMBERED = 4096  # forecasts kept between the steps of episodes in flight
_Row = tuple[Floats, Floats, Floats, Bools]  # of one text: quality, its deviation, cost, allowed; each [M]


class NoOptions(Config):
    """A policy without options."""


class Policy(ABC):
    """Base of the policies.

    `contexts` names what it needs of a
    world: `query` (independent answers, as recorded tables hold) or `transcript` (calls that see earlier replies).
    `supports` names what a request may ask for and still be served by it: of `SUPPORTABLE`. A gateway serves the rest
    with one call, and says so.
    """

    Config: ClassVar[type[Config]] = NoOptions
    kind: ClassVar[str]
    summary: ClassVar[str]
    contexts: ClassVar[tuple[str, ...]] = ("query",)
    supports: ClassVar[frozenset[str]] = frozenset()
    learns: ClassVar[Literal["", "table", "tree"]] = ""  # from an outcome table, a response tree, or nothing recorded
    reviews: ClassVar[bool] = False  # whether it looks at each call of its plans once it has ended (`review`)
    files: ClassVar[tuple[str, ...]] = ()  # options that are paths; a serve file's are relative to it
    forecaster: Forecaster | None = None  # a router's forecasts, for those that use them

    @property
    def blocking(self) -> bool:
        """Whether `prepare` and `decide` may take long; the engine then runs them in a worker."""
        return self.forecaster is not None and self.forecaster.slow

    @property
    def least_tokens(self) -> int | None:
        """A reply may be shortened to so many tokens where the budget allows no more; None: never."""
        return None

    @property
    def random(self) -> bool:
        """Whether `decide` draws from its generator; the engine makes one only then."""
        return False

    def __init__(self, config: Any = None, seed: int = 0) -> None:
        self.config: Any = config if config is not None else self.Config()
        self.seed = seed
        self.models: tuple[str, ...] = ()  # the pool fitted on; empty: any

    def check(self, models: Sequence[str]) -> None:  # noqa: B027 - most policies take any pool
        """Refuse a pool that the policy's own options do not fit; nothing by default."""

    def prepare(self, queries: Sequence[Query]) -> None:
        """Work that needs the queries alone, done once before their episodes begin."""
        if self.forecaster is not None:
            self.forecaster.forecast(queries)

    @abstractmethod
    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        """One wish a state."""

    def parse(self, reply: Reply, state: State) -> Wish:
        """What to do with the reply to a `Generate` of this policy."""
        raise EpisodeError(f"{self.kind} asked for no text, so it can not read one.")

    def review(self, state: State) -> Decision | None:
        """What to do about the call of a plan that has just ended, `state.focus`; asked only of policies that set `reviews`.

        None: go on. A Call: make it in its place, before those that wait for it begin; it is reviewed too, so a policy
        bounds its own tries. A Think: stop, begin nothing more of this plan, and ask `decide` what now.
        """
        return None

    def update(self, episodes: Sequence[Episode]) -> None:
        """Learn from finished episodes; nothing by default."""
        return

    def state(self) -> tuple[Arrays, Meta]:
        """Arrays and JSON-able facts from which `restore_policy` makes the same policy."""
        return {}, {
            "models": list(self.models),
            "seed": self.seed,
            "options": self.config.model_dump(mode="json"),
            "own": {},
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]], own: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        return


class ArrayPolicy(Policy):
    """A policy over arrays; see the module.

    Forecasts come as [B, M] in the order of `models`.
    """

    learns = "table"

    def fit(self, outcomes: Outcomes, forecast: Forecast | None = None) -> None:
        """Learn from recorded outcomes with answer keys (`outcomes.keys`).

        Args:
            outcomes: Q queries by M models.
            forecast: What a scorer that saw none of these queries forecasts for them; for policies that use one.
        """
        self.models = outcomes.models

    def add(self, model: str, cost_usd: float | None = None, probes: Outcomes | None = None) -> tuple[float, float]:
        """Take in a model that was not there in training, without fitting anything again.

        Args:
            model: Its name.
            cost_usd: Expected cost of a call, by its card; None: what the probes cost.
            probes: Some queries with keys, answered by every model of the policy and by the new one; None: there are none.

        Returns:
            The score and the cost that a call of it is expected to have.
        """
        raise RouterError(f"{self.kind} can not take in a model by itself. Train it on outcomes of the whole pool.")

    @abstractmethod
    def act(self, obs: Observation, forecast: Forecast | None, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """[B] the action of each episode, allowed by `obs.mask`, and [B] the probability it had."""

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        if not states:
            return []
        models = self.models or tuple(card.name for card in states[0].pool)
        obs = observe(facts_of(states, models))
        forecast = self.forecaster.forecast([s.query for s in states]) if self.forecaster is not None else None
        actions, probabilities = self.act(obs, forecast, rng)
        wishes: list[Wish] = []
        for b, (a, p) in enumerate(zip(actions.tolist(), probabilities.tolist(), strict=True)):
            if not obs.mask[b, a]:
                what = f"call {models[a]}" if a < len(models) else "answer"
                raise EpisodeError(
                    f"{self.kind} wants to {what}, which is not allowed here. This is a defect of the policy."
                )
            wishes.append(Decision(self.action(a, obs, b), self._names(obs, b), p, self.reason(a, obs, b, forecast)))
        return wishes

    def action(self, number: int, obs: Observation, row: int) -> Call | Answer:
        """The action of that number."""
        n = len(obs.models)
        if number < n:
            return Call(obs.models[number])
        return Answer("vote" if number - n == VOTE else "last")

    def reason(self, number: int, obs: Observation, row: int, forecast: Forecast | None) -> str:
        """One sentence for people."""
        return ""

    def _names(self, obs: Observation, row: int) -> tuple[str, ...]:
        names = (*obs.models, "answer:last", "answer:vote")
        return tuple(names[i] for i in np.flatnonzero(obs.mask[row]))


class Forecaster:
    """A router's forecasts, remembered while the episodes they are for go on. Several threads may ask at once."""

    def __init__(self, router: Any) -> None:
        self.router = router
        self.slow = bool(router.encoder.slow)  # an encoder that would hold up the event loop
        self._kept: OrderedDict[str | bytes, _Row] = OrderedDict()  # those asked for last are at the end
        self._lock = threading.Lock()

    def forecast(self, queries: Sequence[Query]) -> Forecast:
        """[B, M] in the order of the router's models; costs less what a query's conversation saves (`Query.saved_usd`)."""
        keys = [_key(q.text) for q in queries]
        with self._lock:
            known = {key: self._kept[key] for key in keys if key in self._kept}
        new = {key: q for key, q in zip(keys, queries, strict=True) if key not in known}
        if new:
            made = self.router.forecast(list(new.values()))
            if not (np.isfinite(made.quality).all() and np.isfinite(made.cost_usd).all()):
                raise RouterError(
                    "The scorer forecasts what is no number. Expected finite ones; train the router again."
                )
            allowed = np.ones(made.quality.shape, dtype=bool) if made.allowed is None else made.allowed
            for i, key in enumerate(new):
                known[key] = (made.quality[i], made.quality_std[i], made.cost_usd[i], allowed[i])
        with self._lock:
            for key, row in known.items():
                self._kept[key] = row
                self._kept.move_to_end(key)
            while len(self._kept) > _REMEMBERED:
                self._kept.popitem(last=False)
        rows = [known[key] for key in keys]
        quality, std, cost, may = (np.array([row[i] for row in rows]) for i in range(4))
        for i, query in enumerate(queries):
            for model, usd in query.saved_usd.items():  # a cost below zero is fine: only differences decide
                if model in self.router.models:
                    cost[i, self.router.models.index(model)] -= usd
        return Forecast(self.router.models, quality, std, cost, None, None if may.all() else may)


def _key(text: str) -> str | bytes:
    """What a forecast is remembered by: the text, or the digest of a long one, so that no long text is held."""
    if len(text) <= 256:
        return text
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).digest()


def certain(actions: Ints) -> tuple[Ints, Floats]:
    """Actions taken without chance."""
    return actions, np.ones(len(actions))


def answer_last(obs: Observation) -> int:
    return len(obs.models) + LAST


def answer_vote(obs: Observation) -> int:
    return len(obs.models) + VOTE


def build_policy(kind: str, options: Mapping[str, Any] | None = None, seed: int = 0) -> Policy:
    """A new policy by name; `UnknownName` or `ConfigError` on bad input."""
    cls = POLICIES.load(kind)
    return cls(parse(cls.Config, options or {}, f"policy {kind!r}"), seed)


def beside(kind: str, options: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """The options of a policy with its paths made relative to a folder: that of the file they stand in."""
    files = POLICIES.load(kind).files if kind in POLICIES else ()
    return {k: str(base / v) if k in files and v and isinstance(v, str) else v for k, v in options.items()}


def restore_policy(kind: str, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> Policy:
    """A saved policy by name."""
    policy = build_policy(kind, meta["options"], meta["seed"])
    policy.models = tuple(meta["models"])
    policy.restore(arrays, meta["own"])
    return policy
