"""`hops`: after every reply a small policy decides who is asked next, or that the answer is good enough.

What it goes by are chances: who agrees with whom, and what that says about every answer, from classes of
queries fitted on recorded replies (`hops_classes.py`). No text is read. `value_usd` is an input: one fit serves every
trade-off. `trainer` says where the decisions come from:

- `tree`: planned, by dynamic programming over the classes (`hops_tree.py`).
- `ppo`, `es`: a small network that all models share (`hops_head.py`), trained on recorded answers by proximal policy
  optimisation or by evolution (`routewright.train`). It begins as its `guide`, the fitted cascade by default, and what
  training made of it is kept only where queries held back say that it is better.

Reference: HierRouter (arXiv:2511.09873) trains such a policy over a fixed number of hops; Trinity (arXiv:2512.04695) a
small head over turns. Differs: it may stop, the trade-off is given with the request, and calls see the query alone, since
that is what recorded tables hold; roles that work on earlier replies are not here yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from routewright import config
from routewright.config import parse
from routewright.encoders.base import Arrays, Meta
from routewright.errors import RoutewrightError
from routewright.outcomes.arrays import Outcomes
from routewright.outcomes.split import folds
from routewright.policies.base import ArrayPolicy, answer_last, answer_vote, certain, restore_policy
from routewright.policies.cascade import Cascade
from routewright.policies.frontier import candidates, search, trade_offs
from routewright.policies.hops_classes import Classes, fit_classes
from routewright.policies.hops_head import FEATURES, LENGTHS, Head, look
from routewright.policies.hops_newcomer import checked, joined, newcomer
from routewright.policies.hops_training import PPO, Evolution
from routewright.policies.hops_tree import Tree, grow, widened
from routewright.policies.observe import Observation, among
from routewright.policies.search import Lists
from routewright.types import Floats, Forecast, Ints

PARTS_OF_TRAINING = 4  # of the queries: each acted on with what the others teach; the last only watched


class Hops(ArrayPolicy):
    """Who is asked next, or stop: decided anew after every reply."""

    kind = "hops"
    supports = frozenset({"images", "json"})
    summary = "decides after every reply who is asked next, or to stop, from who agrees with whom so far"

    class Config(config.Config):
        trainer: Literal["tree", "ppo", "es"] = Field("tree", description="where decisions come from")
        deepest: int = Field(4, ge=1, le=4, description="calls at most")
        candidates: int = Field(8, ge=2, le=12, description="models planned over at one trade-off")
        classes: tuple[int, ...] = Field(
            (4, 8, 16), min_length=1, description="classes of queries, averaged over these"
        )
        smoothing: float = Field(4.0, gt=0, description="queries' worth of a model's means in every class")
        guide: Literal["cascade", "tree", "none"] = Field("cascade", description="what ppo and es start from")
        models_of_head: int = Field(12, ge=2, le=64, description="models that ppo and es choose among")
        hidden: int = Field(16, ge=1, le=256, description="hidden units of the head that ppo and es train")
        exactly: bool = Field(False, description="always the deepest call, whose reply stands; ppo and es only")
        without: Literal["", "replies", "forecasts", "trade_off"] = Field(
            "", description="what the head is not told, to see what it is worth; ppo and es, without a guide"
        )
        lengths: bool = Field(False, description="the head looks at lengths of replies too; ppo and es only")
        training: dict[str, Any] = Field({}, description="settings of ppo or es")
        work: str = Field("", description="folder for checkpoints, history and learning curve; empty: none is kept")

        @model_validator(mode="after")
        def _settings(self) -> Any:
            self.settings()
            return self

        def settings(self) -> PPO | Evolution:
            """`training`, read."""
            if self.without and (self.trainer == "tree" or self.guide != "none"):
                raise ValueError(
                    'without belongs to ppo and es with guide = "none": a guide would tell what is kept from it'
                )
            if self.trainer == "tree" and (self.training or self.exactly or self.lengths):
                raise ValueError(
                    "training, exactly and lengths belong to the trainers ppo and es; tree has nothing to set there"
                )
            if self.trainer == "es":
                return parse(Evolution, self.training, "hops.training")
            return parse(PPO, self.training, "hops.training")

    def __init__(self, config: Any = None, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.classes: Classes | None = None
        self.tree: Tree | None = None
        self.head: Head | None = None
        self.guide: ArrayPolicy | None = None
        self.columns: Ints = np.zeros(0, dtype=np.int64)  # models that the head chooses among
        self.reference_usd = 0.0  # mean cost of the best single model
        self.usual: Floats | None = None  # [M] mean log(1 + tokens) of replies, where lengths are looked at
        self.progress: Callable[[dict[str, Any]], None] | None = None  # told of every step of a training
        self._alone = np.zeros((2, 0))  # quality and cost of each model alone

    def fit(self, outcomes: Outcomes, forecast: Forecast | None = None) -> None:
        super().fit(outcomes, forecast)
        self._alone = np.stack([outcomes.quality.mean(axis=0), outcomes.cost_usd.mean(axis=0)])
        if outcomes.keys is None:
            raise RoutewrightError("hops compares replies: it needs a table that kept them. Load it with keys.")
        self.classes = self._classes(outcomes)
        lists = self._lists(outcomes)
        if self.config.trainer == "tree":
            self.tree = grow(self.classes, lists, self.config.deepest, self.config.candidates)
            return
        self.reference_usd = float(self._alone[1, self._alone[0].argmax()])
        self.usual = _usual(outcomes) if self.config.lengths else None
        self.guide = self._guide(outcomes)
        self.head = self._train(outcomes, lists)

    def _lists(self, outcomes: Outcomes) -> Lists:
        assert outcomes.keys is not None
        part = np.zeros(len(outcomes), dtype=np.int64)
        deepest = (1, 1, 3, 4)[self.config.deepest - 1]
        return search(outcomes.quality, outcomes.cost_usd, outcomes.keys, part, 16, deepest)

    def _classes(self, outcomes: Outcomes) -> Classes:
        return fit_classes(outcomes, self.config.classes, self.config.smoothing)

    def _guide(self, outcomes: Outcomes) -> ArrayPolicy | None:
        """What the head begins as, fitted on these queries."""
        if self.config.guide == "none":
            return None
        made: ArrayPolicy
        if self.config.guide == "cascade":
            made = Cascade(Cascade.Config(deepest=(1, 1, 3, 4)[self.config.deepest - 1]), self.seed)
        else:
            mine = {"deepest", "candidates", "classes", "smoothing"}
            made = Hops(self.Config(**self.config.model_dump(include=mine)), self.seed)
        made.fit(outcomes)
        return made

    def _train(self, outcomes: Outcomes, lists: Lists) -> Head:
        """Train the head, and settle which models it chooses among: good ones, and whomever a guide may ask."""
        from routewright.train.journal import Journal
        from routewright.train.rollout import Ground, others_of

        groups = len(np.unique(outcomes.groups))
        if groups < PARTS_OF_TRAINING:
            raise RoutewrightError(
                f"hops.trainer = {self.config.trainer!r} needs at least {PARTS_OF_TRAINING} different queries, got {groups}."
            )
        part = folds(outcomes.groups, outcomes.strata, PARTS_OF_TRAINING, self.seed)
        parts = [(world, others, self._guide(others)) for world, others in others_of(outcomes, part)]
        good = candidates(lists, len(outcomes.models), trade_offs()[::2], self.config.models_of_head)
        asked = [_asked_by(guide) for guide in (self.guide, *(guide for _, _, guide in parts))]
        self.columns = np.unique(np.concatenate([good, *asked]))
        grounds = [
            Ground(
                world,
                self._classes(others).take(self.columns),
                self.columns,
                guide,
                self.config.deepest,
                self.reference_usd,
                self.config.exactly,
                self.config.without,
                self.usual,
            )
            for world, others, guide in parts
        ]
        features = FEATURES + (0 if self.usual is None else LENGTHS)
        start = Head.start(self.config.hidden, self.seed, features)
        work = Path(self.config.work) if self.config.work else None
        content = float(outcomes.cost_usd.sum()), float(outcomes.quality.sum())
        about = f"{self.config.model_dump_json(exclude={'work'})} {self.seed} {outcomes.name} {len(outcomes)} {content}"
        journal = Journal(work, about, self.progress)
        settings = self.config.settings()
        if isinstance(settings, Evolution):
            from routewright.train.es import train_es

            return train_es(start, grounds[:-1], grounds[-1], settings, journal, self.seed)
        from routewright.train.ppo import train_ppo

        return train_ppo(start, grounds[:-1], grounds[-1], settings, journal, self.seed)

    def add(self, model: str, cost_usd: float | None = None, probes: Outcomes | None = None) -> tuple[float, float]:
        """As in `ArrayPolicy`: the model's row of the classes (`hops_newcomer.py`), and plans made anew.

        A head is shared by all models, and so meets one more. A cascade that guides it has no place for the new model; a
        planned guide has.
        """
        if self.classes is None:
            raise RoutewrightError(
                "hops is not fitted, so there is nothing to add a model to. Expected fit(outcomes) first."
            )
        cost_usd, probes = checked(self.models, model, cost_usd, probes)
        if isinstance(self.guide, Hops):
            self.guide.add(model, cost_usd, probes)
        new = len(self.models)
        classes = joined(self.classes, newcomer(self.classes, cost_usd, probes))
        if self.tree is not None:
            self.tree = widened(self.tree, classes, new, self.config.deepest)
        else:
            self.columns = np.append(self.columns, new)
            if self.usual is not None:
                self.usual = np.append(self.usual, np.nan if probes is None or not len(probes) else _usual(probes)[-1])
        self.classes, self.models = classes, (*self.models, model)
        right = classes.share @ (classes.chance[:, new] * classes.right[new]).sum(axis=1)
        self._alone = np.append(self._alone, [[right], [classes.share @ classes.cost_usd[:, new]]], axis=1)
        return float(self._alone[0, new]), float(self._alone[1, new])

    def act(self, obs: Observation, forecast: Forecast | None, rng: np.random.Generator) -> tuple[Ints, Floats]:
        if (self.tree is None and self.head is None) or obs.models != self.models:
            raise RoutewrightError(
                f"hops is fitted on {len(self.models)} models and is to choose among {len(obs.models)}. Fit it on this "
                "pool's outcomes."
            )
        if self.tree is not None:
            ranked, known = self.tree.act(obs)
            return certain(self._allowed(obs, _first(obs, ranked), known))
        return certain(self._allowed(obs, self._best(obs), np.ones(len(obs), dtype=bool)))

    def _best(self, obs: Observation) -> Ints:
        """[B] the head's best actions."""
        assert self.head is not None
        assert self.classes is not None
        guided = np.full(len(obs), -1)
        if self.guide is not None:
            few = len(self.guide.models)  # models added since are none of its own
            guided, _ = self.guide.act(among(obs, few), None, np.random.default_rng(0))
            guided = np.where(guided < few, guided, guided - few + len(obs.models))
        known = self.classes.take(self.columns)
        settings = self.config
        given = known, self.columns, obs, guided, settings.deepest, self.reference_usd
        seen = look(*given, settings.exactly, settings.without, self.usual)
        best: Ints = np.where(seen.mask, self.head.scores(seen.x), -np.inf).argmax(axis=1)
        c = len(self.columns)
        return np.where(best < c, self.columns[best.clip(0, c - 1)], len(obs.models) + best - c)

    def _allowed(self, obs: Observation, action: Ints, known: NDArray[np.bool_]) -> Ints:
        """The action, or another where it is not allowed: what there is stands; without anything, the best other model."""
        m = len(obs.models)
        rows = np.arange(len(obs))
        usable = obs.usable.any(axis=1)
        answers = action >= m
        fine = known & obs.mask[rows, action] & (~answers | usable)
        agreed = (obs.usable & (obs.agree >= 2)).any(axis=1)
        instead = np.where(agreed, answer_vote(obs), answer_last(obs))
        fresh = obs.mask[:, :m] & ~obs.called
        gains = np.where(fresh, obs.value_usd[:, None] * self._alone[0] - self._alone[1], -np.inf)
        instead = np.where(~usable & fresh.any(axis=1), gains.argmax(axis=1), instead)
        return np.where(fine, action, instead)

    def reason(self, number: int, obs: Observation, row: int, forecast: Forecast | None) -> str:
        if number == answer_vote(obs) and int(obs.agree[row].max()) >= 2:
            return f"{int(obs.agree[row].max())} of {int(obs.usable[row].sum())} replies agree"
        return ""

    def state(self) -> tuple[Arrays, Meta]:
        arrays, meta = super().state()
        for part in (self.classes, self.tree, self.head):
            arrays |= {} if part is None else part.arrays()
        if self.guide is not None:
            own, about = self.guide.state()
            arrays |= {f"guide.{name}": value for name, value in own.items()}
            meta["own"] = {"guide": {"kind": self.guide.kind, **about}}
        arrays |= {} if self.usual is None else {"usual": self.usual}
        told = np.array([self.reference_usd])
        return {**arrays, "columns": self.columns, "reference_usd": told, "alone": self._alone}, meta

    def restore(self, arrays: Mapping[str, NDArray[Any]], own: Mapping[str, Any]) -> None:
        self._alone, self.columns = arrays["alone"], arrays["columns"]
        self.reference_usd = float(arrays["reference_usd"][0])
        self.usual = arrays.get("usual")
        self.classes = Classes.of(arrays) if "classes.share" in arrays else None
        self.tree = Tree.of(arrays) if "tree.values" in arrays else None
        self.head = Head.of(arrays) if "head.linear" in arrays else None
        if "guide" in own:
            inner = {name.removeprefix("guide."): value for name, value in arrays.items() if name.startswith("guide.")}
            self.guide = cast(ArrayPolicy, restore_policy(own["guide"]["kind"], inner, own["guide"]))


def _usual(outcomes: Outcomes) -> Floats:
    """[M] mean log(1 + tokens) of a model's replies; NaN where the table has none."""
    known = np.isfinite(outcomes.tokens_out)
    total = np.where(known, np.log1p(outcomes.tokens_out, where=known, out=np.zeros(known.shape)), 0.0).sum(axis=0)
    return np.asarray(np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan))


def _first(obs: Observation, ranked: Ints) -> Ints:
    """[B] the first of the ranked actions [B, R] that is allowed and, if it answers, has something to say; else the very first."""
    fine = (ranked >= 0) & np.take_along_axis(obs.mask, ranked.clip(0), axis=1)
    fine &= (ranked < len(obs.models)) | np.asarray(obs.usable.any(axis=1))[:, None]
    return np.take_along_axis(ranked, fine.argmax(axis=1)[:, None], axis=1)[:, 0].clip(0)


def _asked_by(guide: ArrayPolicy | None) -> Ints:
    """Columns of the models that a guide may ask."""
    if isinstance(guide, Cascade) and guide.frontier is not None:
        members = guide.frontier.members
        return np.unique(members[members >= 0])
    if isinstance(guide, Hops) and guide.tree is not None:
        return np.unique(np.concatenate([band.columns for band in guide.tree.bands]))
    return np.zeros(0, dtype=np.int64)
