"""`preference`: people say in words what should go where; the request goes to a model of the route it belongs to.

The routes are a TOML file (`routes.py`). A route is found by the last turns of the conversation, in one of two ways:

    embedding   an encoder compares the turns with descriptions and examples (`preference_match.py`): no call, no cost
    model       a model of the pool is asked, in Arch-Router's form (`preference_prompt.py`): a priced, traced step

What fits no route goes to `other`, and so does everything where the model's replies can not be read, which is an event of
the trace. Then the route's rule chooses among its models: the first, the cheapest, the fastest, or `learned`:

    argmax over the route's models m of  value_usd * quality[m] - cost_usd[m]

by a router's forecasts: the preference narrows, learning decides. A model that fails, or may not be asked now, is passed
over; after the route's models come those of `other`, then the rest of the pool, each with its reason. So a route says what
is preferred. It does not say what is forbidden: that is what keys and `deny` are for.

Reference: Tran et al. 2025 (Arch-Router), arXiv:2506.16655. Differs: every route may leave the choice among its models to a
learned router, and an encoder can find the route, with a confidence that is calibrated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from routewright import config
from routewright.encoders.base import Arrays, Meta
from routewright.errors import ConfigError, RoutewrightError, UnknownName
from routewright.policies.base import SUPPORTABLE, Forecaster, Policy, Wish
from routewright.policies.preference_fit import calibration_of
from routewright.policies.preference_match import Matcher
from routewright.policies.preference_prompt import prompt, read_route
from routewright.policies.preference_turns import turns
from routewright.policies.routes import OTHER, Rule, check_routes, read_routes
from routewright.rewards.format import malformed
from routewright.types import Answer, Call, Decision, Floats, Generate, Reply, State

_REPLY_TOKENS = 512  # of every model alike, where the rule `cheapest` has no forecast
_TEMPLATE_TOKENS = 48  # that a chat template may add around a prompt


class Preference(Policy):
    """Find the route, then choose among its models; see the module."""

    kind = "preference"
    supports = frozenset(SUPPORTABLE)
    summary = "routes described in words; the request goes to a model of the route it belongs to"
    files: ClassVar[tuple[str, ...]] = ("routes", "router", "calibration")

    class Config(config.Config):
        routes: str | dict[str, Any] = Field(description="the routes file, or what it would hold")
        backend: Literal["embedding", "model"] = Field("embedding", description="who finds the route")
        encoder: str = Field("hashing", description="of the backend embedding")
        calibration: str | dict[str, Any] = Field(
            "", description="file of `routewright routes fit`; empty: the one that ships for the encoder"
        )
        threshold: float | None = Field(
            None, gt=0, lt=1, description="least confidence of a route; none: as the calibration says"
        )
        model: str = Field("", description="model of the pool that is asked for the route, of the backend model")
        last_tokens: int = Field(
            2048, ge=16, description="of the conversation that are looked at, the latest; 4 characters each"
        )
        reply_tokens: int = Field(64, ge=8, description="longest reply that names a route, tokens")
        repairs: int = Field(
            1, ge=0, le=4, description="times the model is asked again after a reply that can not be read"
        )
        router: str = Field("", description="folder of a trained router, for the rules learned and fastest")

    def __init__(self, config: Any = None, seed: int = 0) -> None:
        super().__init__(config, seed)
        given = self.config.routes
        self.routes = read_routes(given) if isinstance(given, str) else check_routes(given, "the option routes")
        self.matcher: Matcher | None = None
        if self.config.backend == "embedding":
            calibration = calibration_of(self.config.calibration, self.config.encoder)
            if self.config.threshold is not None:
                calibration = calibration.model_copy(update={"threshold": self.config.threshold})
            self.matcher = Matcher(self.routes, self.config.encoder, calibration)
        elif not self.config.model:
            raise ConfigError(
                "preference with backend = 'model' has no model to ask. Expected model = the name of one of the pool."
            )
        if self.config.router:
            from routewright.router import load

            self.forecaster = Forecaster(load(self.config.router))

    @property
    def blocking(self) -> bool:
        return super().blocking or (self.matcher is not None and self.matcher.slow)

    def check(self, models: Sequence[str]) -> None:
        self.routes.check(models)
        if self.config.backend == "model" and self.config.model not in models:
            raise ConfigError(f"The option model = {self.config.model!r} is not in the pool: {', '.join(models)}.")
        if self.routes.learned and self.forecaster is None:
            raise ConfigError(
                f"The rule of route {self.routes.learned[0]!r} is learned, and there is no router to learn from. Expected the "
                "option router = the folder of a trained one, or another rule."
            )

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [self._one(state) for state in states]

    def _one(self, state: State) -> Wish:
        if any(isinstance(s.action, Call) and s.reply is not None and s.reply.error is None for s in state.steps):
            return Decision(Answer("last"), (), 1.0)
        if self.matcher is not None:
            match = self.matcher.match(turns(state.query, self.config.last_tokens))
            assert self.matcher.calibration is not None
            return self._call(state, match.route, match.said(self.matcher.calibration.threshold), 1.0)
        return self._asked(state)

    def _asked(self, state: State) -> Wish:
        """The route as the model names it; asked, asked again, or given up."""
        replies = [s.reply for s in state.steps if isinstance(s.decision, Generate) and s.reply is not None]
        last = replies[-1] if replies else None
        why = ""
        if last is not None:
            if last.error is not None:
                return self._call(state, OTHER, f"route other: {self.config.model} did not name one", None)
            try:
                named = read_route(last.text, self.routes)
                note = f" ({named.repaired})" if named.repaired else ""
                return self._call(state, named.route, f"route {named.route}: named by {self.config.model}{note}", None)
            except RoutewrightError as error:
                why = str(error)
            if len(replies) > self.config.repairs:
                return self._call(state, OTHER, f"route other: {len(replies)} replies could not be read", None)
        if self.config.model not in [card.name for card in state.pool]:
            raise UnknownName("model of this pool", self.config.model, [card.name for card in state.pool])
        text = prompt(self.routes, turns(state.query, self.config.last_tokens), why)
        if not self._affords(state, text):
            return self._call(state, OTHER, "route other: no money to ask for a route beside the answer", None)
        return Generate(self.config.model, text, (), self.config.reply_tokens)

    def parse(self, reply: Reply, state: State) -> Wish:
        if reply.error is not None:
            return malformed(f"no route came ({reply.error[:200]})")
        try:
            read_route(reply.text, self.routes)
        except RoutewrightError as error:
            return malformed(str(error))
        return self._asked(state)

    def _affords(self, state: State, text: str) -> bool:
        """Whether the answer can still be paid after the most that naming the route may cost."""
        if math.isinf(state.budget_usd):
            return True
        card = next(card for card in state.pool if card.name == self.config.model)
        most = (card.usd_per_mtok_in or 0.0) * (len(text.encode("utf-8", "surrogatepass")) + _TEMPLATE_TOKENS)
        most += (card.usd_per_mtok_out or 0.0) * self.config.reply_tokens
        answers = [usd for usd, may in zip(state.worst_usd, state.legal, strict=True) if may]
        return bool(state.spent_usd + most / 1e6 + min(answers, default=0.0) <= state.budget_usd)

    def _call(self, state: State, route: str, why: str, probability: float | None) -> Decision:
        """A model of the route; if none may be asked, of `other`; else the pool's first that may."""
        open_to = _open(state)
        if not open_to:
            return Decision(Answer("last"), (), probability)
        target = self.routes.target(route)
        names, rule = tuple(m for m in target.models if m in open_to), target.rule
        beside = ""
        if not names and route != OTHER:
            names, rule = tuple(m for m in self.routes.other.models if m in open_to), self.routes.other.rule
            beside = "; none of the route's models can be asked now, so one of other's"
        if not names:
            names, rule, beside = open_to, "first", "; no model of the route can be asked now, so the first that can"
        model, chosen = self._chosen(state, names, rule)
        again = "; what was asked before failed" if any(isinstance(s.action, Call) for s in state.steps) else ""
        return Decision(Call(model, final=True), names, probability, f"{why}; {chosen}{beside}{again}")

    def _chosen(self, state: State, names: Sequence[str], rule: Rule) -> tuple[str, str]:
        """One of the models by a rule, and why. Ties go to the one named first."""
        if len(names) == 1:
            return names[0], "its model"
        if rule == "learned":
            return self._learned(state, names)
        if rule == "cheapest":
            usd = self._costs(state)
            known = {m: usd.get(m, math.inf) for m in names}
            best = min(names, key=lambda m: known[m])
            return best, f"the cheapest of {len(names)}" if math.isfinite(
                known[best]
            ) else "the first: no price is known"
        if rule == "fastest":
            seconds = self._latencies(state)
            best = min(names, key=lambda m: seconds.get(m, math.inf))
            if best not in seconds:
                return names[0], "the first: no latency is known"
            return best, f"the fastest of {len(names)}, {seconds[best]:.3g} s"
        return names[0], f"the first of {len(names)}"

    def _learned(self, state: State, names: Sequence[str]) -> tuple[str, str]:
        if self.forecaster is None:
            raise ConfigError("The rule learned needs a router: the option router, or a coordinator that has one.")
        forecast = self.forecaster.forecast([state.query])
        at = {m: i for i, m in enumerate(forecast.models)}
        gain = state.value_usd * forecast.quality[0] - forecast.cost_usd[0]
        known = [m for m in names if m in at and (forecast.allowed is None or forecast.allowed[0, at[m]])]
        if not known:
            return names[0], "the first: the router knows none of its models"
        best = max(known, key=lambda m: gain[at[m]])
        quality, usd = forecast.quality[0, at[best]], forecast.cost_usd[0, at[best]]
        return best, f"forecast quality {quality:.3f} at {usd:.3g} USD, best of {len(known)}"

    def _costs(self, state: State) -> dict[str, float]:
        """USD a model by forecast; without one, of this prompt and a reply of the same length by every model."""
        if self.forecaster is not None:
            forecast = self.forecaster.forecast([state.query])
            return _by_model(forecast.models, forecast.cost_usd[0])
        tokens = sum(len(text) for _, text in turns(state.query, 1 << 20)) / 4
        return {
            card.name: (card.usd_per_mtok_in * tokens + card.usd_per_mtok_out * _REPLY_TOKENS) / 1e6
            for card in state.pool
            if card.usd_per_mtok_in is not None and card.usd_per_mtok_out is not None
        }

    def _latencies(self, state: State) -> dict[str, float]:
        """Seconds a model: forecast where a router learnt from calls with latencies, else as the routes file says."""
        known: dict[str, float] = {}
        if self.forecaster is not None:
            forecast = self.forecaster.router.forecast([state.query])
            if forecast.latency_s is not None:
                known = _by_model(forecast.models, forecast.latency_s[0])
        return {**known, **self.routes.latency_s}

    def state(self) -> tuple[Arrays, Meta]:
        """With the routes and the calibration in it: a saved policy needs no file but its router's."""
        arrays, meta = super().state()
        held: dict[str, Any] = {"routes": self.routes.model_dump(mode="json")}
        if self.matcher is not None and self.matcher.calibration is not None:
            held["calibration"] = self.matcher.calibration.model_dump(mode="json")
        return arrays, {**meta, "options": {**meta["options"], **held}}

    def restore(self, arrays: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Nothing beyond the options."""


def _open(state: State) -> tuple[str, ...]:
    """Models that may be asked now and have not failed in this episode."""
    failed = {s.reply.model for s in state.steps if s.reply is not None and s.reply.error is not None}
    failed |= {
        s.action.model
        for s in state.steps
        if isinstance(s.action, Call) and s.action.model and s.reply is not None and s.reply.error is not None
    }
    legal = [card.name for card, may in zip(state.pool, state.legal, strict=True) if may]
    return tuple(m for m in legal if m not in failed)


def _by_model(models: Sequence[str], row: Floats) -> dict[str, float]:
    return {m: float(x) for m, x in zip(models, row, strict=True) if np.isfinite(x)}
