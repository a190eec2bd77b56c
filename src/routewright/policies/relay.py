"""`relay`: hops whose calls see what earlier ones wrote: after every reply a small network decides who goes on, or that it is done.

A model may be asked alone, take the work one step on from the replies so far, or verify an answer; or the episode ends, with
the last answer or by vote. What the network reads is the query and the replies (`relay_text.py`), where the episode stands
(`relay_look.py`), `value_usd`, and a row for every model: how good it is at each kind of task, its price. Weights are shared over
rows (`relay_net.py`), so a model may be added by a row: `add`.

It is trained on a response tree (`routewright train TREE --policy relay`) by fitted Q iteration, and by proximal policy optimisation or
evolution from there; it serves without torch.

Reference: HierRouter (arXiv:2511.09873) and Trinity (arXiv:2512.04695), whose thinker, worker and verifier the roles are.
Differs: it may stop; the trade-off is given with the request; the text is read by hashed n-grams, which cost no tokens; and
models are rows, not outputs. The options `exactly`, `past` and roles = ["step"] are HierRouter's own setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from routewright import config
from routewright.config import parse
from routewright.encoders.base import Arrays, Meta
from routewright.errors import RoutewrightError
from routewright.policies.base import Policy, Wish
from routewright.policies.relay_look import ALONE, LAST, ON, ROLES, VERIFY, Rules, Shown, dense, situation_of
from routewright.policies.relay_net import Net, Rows, Texts
from routewright.policies.relay_text import features
from routewright.policies.relay_training import Training
from routewright.types import Answer, Call, Decision, Floats, State

Role = Literal["answer", "step", "verify"]
NOTHING = (-1,)  # a chain begins: no earlier reply is shown, though there may be answers given alone


class Relay(Policy):
    """Who goes on from here, in which role, or stop."""

    kind = "relay"
    summary = "decides after every reply who goes on from it, who verifies it, or to stop, from the text so far"
    contexts: ClassVar[tuple[str, ...]] = ("query", "transcript")
    learns = "tree"

    class Config(config.Config):
        trainer: Literal["q", "ppo", "es"] = Field("q", description="fitted Q alone; or PPO or evolution from there")
        chain: int = Field(4, ge=1, le=8, description="steps at most that see one another")
        calls: int = Field(6, ge=1, le=24, description="calls at most")
        roles: tuple[Role, ...] = Field(("answer", "step", "verify"), min_length=1, description="roles there are")
        step: str = Field("step", min_length=1, description="what calls that go on from earlier replies are asked for")
        mark: str = Field("answer:", description="what a reply that holds an answer has in it; empty: every reply does")
        past: bool = Field(False, description="go on after an answer, which later calls then see")
        exactly: bool = Field(False, description="no end before the last call")
        hidden: int = Field(24, ge=2, le=512, description="hidden units")
        training: dict[str, Any] = Field({}, description="settings of the trainers")
        work: str = Field("", description="folder for checkpoints, history and learning curves; empty: none is kept")

        @property
        def settings(self) -> Training:
            """`training`, read."""
            return parse(Training, self.training, "relay.training")

        @model_validator(mode="after")
        def _readable(self) -> Any:
            assert self.settings
            return self

    def __init__(self, config: Any = None, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.net: Net | None = None
        self.rows: Rows | None = None
        self.reference_usd = 0.0

    @property
    def rules(self) -> Rules:
        c = self.config
        roles = ("answer" in c.roles, "step" in c.roles, "verify" in c.roles)
        return Rules(c.chain, c.calls, roles, c.past, c.exactly)

    def take(self, net: Net, rows: Rows, models: Sequence[str], reference_usd: float) -> None:
        """What training made of it."""
        self.net, self.rows, self.models, self.reference_usd = net, rows, tuple(models), reference_usd

    def add(self, model: str, skills: Floats, price: float, like: str) -> None:
        """Let a model in that training never saw.

        Args:
            model: Its name in the pool.
            skills: [T] how good it is at each kind of task, as `relay_rows.skills_of` makes them.
            price: Its price per token, of that of `like`.
            like: A model known, whose calls have the length that this one's will have.

        Raises:
            RoutewrightError: It is known already, `like` is not, or the skills are of other tasks.
        """
        from routewright.policies.relay_rows import row_of

        if self.rows is None or model in self.models or like not in self.models:
            raise RoutewrightError(
                f"relay can not add {model!r} like {like!r}: it knows {', '.join(self.models) or 'no model yet'}. Expected a new "
                "name, and a known one to compare it with."
            )
        i = self.models.index(like)
        row = row_of(skills, self.rows.row[i, -1] + np.log10(price))
        if row.shape != self.rows.row[i].shape:
            raise RoutewrightError(
                f"skills has {len(skills)} numbers. Expected {self.rows.row.shape[1] - 2}, one a kind of task."
            )
        self.rows = Rows(
            np.concatenate([self.rows.row, row[None]]),
            np.concatenate([self.rows.cost_usd, self.rows.cost_usd[i : i + 1] * price]),
        )
        self.models = (*self.models, model)

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        if not states:
            return []
        if self.net is None or self.rows is None:
            raise RoutewrightError(
                "relay is not trained. Train it on a response tree: routewright train TREE --policy relay."
            )
        rules, m = self.rules, len(self.models)
        s, shown = situation_of(states, self.models, self.config.mark, self.config.step)
        mask = rules.mask(s)
        texts = Texts.of([features(st.query.text, one.replies) for st, one in zip(states, shown, strict=True)])
        worth = self.net.worth(texts, dense(s, rules, self.reference_usd), self.rows, s.value_usd + self.reference_usd)
        best = np.where(mask, worth, -np.inf).argmax(axis=1)
        wishes: list[Wish] = []
        for b, a in enumerate(best.tolist()):
            names = tuple(self._name(i) for i in np.flatnonzero(mask[b]).tolist())
            order = np.argsort(np.where(mask[b], -worth[b], np.inf))[:2].tolist()
            why = ", ".join(f"{self._name(i)} {worth[b, i]:+.3f}" for i in order if mask[b, i])
            wishes.append(Decision(self._action(a, m, shown[b]), names, 1.0, f"scores {why}"))
        return wishes

    def _action(self, number: int, m: int, shown: Shown) -> Call | Answer:
        if number >= ROLES * m:
            return Answer("last" if number - ROLES * m == LAST else "vote", of=shown.answers)
        role, model = number // m, self.models[number % m]
        if role == ALONE:
            return Call(model)
        name = self.config.step if role == ON else "verify"
        return Call(model, context="transcript", role=name, after=shown.chain or NOTHING)

    def _name(self, number: int) -> str:
        m = len(self.models)
        if number >= ROLES * m:
            return "answer:last" if number - ROLES * m == LAST else "answer:vote"
        role = {ALONE: "", ON: f"/{self.config.step}", VERIFY: "/verify"}[number // m]
        return f"{self.models[number % m]}{role}"

    def state(self) -> tuple[Arrays, Meta]:
        arrays, meta = super().state()
        if self.net is None or self.rows is None:
            return arrays, meta
        told = {"reference_usd": np.array([self.reference_usd])}
        return {**arrays, **self.net.arrays(), **self.rows.arrays(), **told}, meta

    def restore(self, arrays: Mapping[str, NDArray[Any]], own: Mapping[str, Any]) -> None:
        if "net.embed" in arrays:
            self.net, self.rows = Net.of(arrays), Rows.of(arrays)
            self.reference_usd = float(arrays["reference_usd"][0])
