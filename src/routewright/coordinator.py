"""A coordinator: a policy ready to serve, alone or with the router whose forecasts it uses.

    coordinator = routewright.load_coordinator("my-coordinator")
    episode = coordinator.run("How many vowels are in Zurich?", "pool.toml", value_usd=0.01, budget_usd=0.002)
    print(episode.answer, episode.cost_usd)

A saved coordinator is a folder with `policy.safetensors` (arrays) and `policy.json` (facts), and beside them `router/`
where it has one. A saved router's folder is a coordinator too: one call, chosen by its scorer. No pickle is read.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from routewright import folders
from routewright.encoders.cache import vectors_of
from routewright.errors import MissingExtra, RouterError
from routewright.folders import digest, new_folder
from routewright.outcomes.arrays import Outcomes
from routewright.policies.base import ArrayPolicy, Forecaster, Policy, build_policy, restore_policy
from routewright.router import Router, facts_of, fingerprint
from routewright.router import fit as fit_router
from routewright.router import load as load_router
from routewright.scorers.held_out import out_of_sample
from routewright.types import Episode, Query

if TYPE_CHECKING:
    from routewright.episodes.running import Sink
    from routewright.pools.caller import OnDelta
    from routewright.pools.pool import Pool

FORMAT = 1
_ARRAYS, _FACTS, _ROUTER = "policy.safetensors", "policy.json", "router"


@dataclass
class Coordinator:
    """A policy, its router if it has one, and the trade-offs found in training (`presets`: name -> value_usd)."""

    policy: Policy
    router: Router | None = None
    presets: Mapping[str, float] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.router is not None:
            self.policy.forecaster = Forecaster(self.router)
            if isinstance(self.policy, ArrayPolicy) and not self.policy.models:
                self.policy.models = self.router.models
        if self.router is not None:
            self.presets = self.presets or self.router.presets
            self.about = self.about or self.router.about

    def value(self, preset: str) -> float:
        """The `value_usd` of a preset; `RouterError` for an unknown one."""
        if preset not in self.presets:
            known = ", ".join(self.presets) or "none"
            raise RouterError(f"No preset is called {preset!r}. Known: {known}. Or give a number: value_usd.")
        return self.presets[preset]

    @property
    def default_value_usd(self) -> float:
        """Where nobody names a trade-off: the preset `default`, else q99, else 0.01 USD."""
        return self.presets.get("default", self.presets.get("q99", 0.01))

    def check(self, models: Sequence[str]) -> None:
        """Refuse a pool that lacks every model this coordinator was trained for, or that its policy's options do not fit."""
        self.policy.check(models)
        mine = self.policy.models
        if mine and not set(mine) & set(models):
            raise RouterError(
                f"The coordinator was trained for {', '.join(mine[:5])}; the pool has {', '.join(list(models)[:5])}. Expected "
                "at least one model in common; names are matched exactly."
            )

    def add(self, model: str, cost_usd: float | None = None, probes: Outcomes | None = None) -> tuple[float, float]:
        """Take in a model that was not there in training; see `ArrayPolicy.add`. Trade-offs found in training stay as they are.

        Raises:
            RouterError: The policy can not, or goes by the forecasts of a router, which does not know the model.
        """
        if self.router is not None or not isinstance(self.policy, ArrayPolicy):
            raise RouterError(
                f"{self.policy.kind} goes by forecasts, or learnt nothing: a new model has no place in it. Train it on outcomes of "
                "the whole pool."
            )
        found = self.policy.add(model, cost_usd, probes)
        added = [*self.about.get("added", []), {"model": model, "probes": 0 if probes is None else len(probes)}]
        self.about = {**self.about, "added": added}
        return found

    async def arun(
        self,
        query: str | Query,
        pool: Pool,
        value_usd: float | None = None,
        budget_usd: float = math.inf,
        *,
        preset: str | None = None,
        seed: int = 0,
        on_delta: OnDelta | None = None,
        sink: Sink | None = None,
    ) -> Episode:
        """Run one episode; see `routewright.episodes.engine.run` for what may be raised.

        Args:
            query: The text, or a query with a conversation and options.
            pool: Answers.
            value_usd: What a right answer is worth, USD per unit of score; or
            preset: a trade-off found in training. By default the coordinator's own.
            budget_usd: The most that may be spent.
        """
        from routewright.episodes.engine import run

        if value_usd is None:
            value_usd = self.value(preset) if preset else self.default_value_usd
        self.check(pool.models)
        asked = query if isinstance(query, Query) else Query(query)
        rng = np.random.default_rng(seed) if self.policy.random else None
        return await run(self.policy, pool, asked, value_usd, budget_usd, rng=rng, on_delta=on_delta, sink=sink)

    def run(
        self,
        query: str | Query,
        pool: Pool | str | Path,
        value_usd: float | None = None,
        budget_usd: float = math.inf,
        *,
        preset: str | None = None,
        seed: int = 0,
    ) -> Episode:
        """`arun` for code without an event loop; `pool` may be the path of a pool file."""
        from routewright.pools.pool import load_pool

        async def once() -> Episode:
            opened = load_pool(pool) if isinstance(pool, str | Path) else pool
            try:
                return await self.arun(query, opened, value_usd, budget_usd, preset=preset, seed=seed)
            finally:
                if opened is not pool:
                    await opened.aclose()

        return asyncio.run(once())

    def save(self, folder: str | Path) -> None:
        """Write the coordinator, whole or not at all; an existing one there is replaced."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        refuse_target(folder)
        with new_folder(folder) as temporary:
            arrays, meta = self.policy.state()
            save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, temporary / _ARRAYS)
            facts = {
                "format": FORMAT,
                "kind": self.policy.kind,
                "meta": meta,
                "fingerprint": fingerprint(self.policy.models),
                "sha256": digest(temporary / _ARRAYS),
                "router": self.router is not None,
                "presets": dict(self.presets),
                "about": dict(self.about),
            }
            (temporary / _FACTS).write_text(json.dumps(facts, indent=2), encoding="utf-8")
            shutil.copymode(temporary / _FACTS, temporary / _ARRAYS)
            if self.router is not None:
                self.router.save(temporary / _ROUTER)


def refuse_target(folder: Path) -> None:
    """Refuse to save over what is not a coordinator."""
    folders.refuse_target(folder, _FACTS, "coordinator")


def load_coordinator(folder: str | Path) -> Coordinator:
    """Read a saved coordinator, or a saved router as a coordinator of one call.

    Raises:
        RouterError: Neither is there, or it is damaged or of another format.
    """
    from safetensors.numpy import load_file

    folder = Path(folder)
    if not (folder / _FACTS).is_file():
        if (folder / "router.json").is_file():
            return Coordinator(build_policy("single"), load_router(folder))
        raise RouterError(f"{folder} holds neither {_FACTS} nor router.json. Expected a folder of `routewright train`.")
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise RouterError(f"{folder} has format {facts['format']}, this version reads {FORMAT}. Train it again.")
        arrays = load_file(folder / _ARRAYS)
        if digest(folder / _ARRAYS) != facts["sha256"]:
            raise RouterError(f"{folder}: {_ARRAYS} is not the file that was saved. Train the coordinator again.")
        policy = restore_policy(facts["kind"], arrays, facts["meta"])
        if fingerprint(policy.models) != facts["fingerprint"]:
            raise RouterError(f"{folder}: the list of models was changed after training. Train it again.")
        router = load_router(folder / _ROUTER) if facts["router"] else None
        return Coordinator(policy, router, {str(k): float(v) for k, v in facts["presets"].items()}, facts["about"])
    except (RouterError, MissingExtra):
        raise
    except Exception as error:  # a damaged file can break anywhere in reading it; the cause stays attached
        raise RouterError(
            f"{folder} is damaged ({type(error).__name__}: {str(error)[:120]}). Train the coordinator again."
        ) from error


def trainable(policy: str, options: Mapping[str, Any] | None = None, seed: int = 0) -> ArrayPolicy:
    """A new policy that learns from a table; `RouterError` for one that does not."""
    made = build_policy(policy, options, seed)
    if not isinstance(made, ArrayPolicy):
        raise RouterError(f"{policy} learns nothing from a table: it can be used as it is, by its name and options.")
    return made


def fit_coordinator(
    outcomes: Outcomes,
    policy: str,
    options: Mapping[str, Any] | None = None,
    *,
    scorer: str = "",
    encoder: str = "hashing",
    seed: int = 0,
) -> Coordinator:
    """Fit a policy of several calls on all of a table.

    Args:
        outcomes: Loaded with keys, for policies that compare replies.
        policy: Its name.
        options: Fields of its Config.
        scorer: A scorer whose forecasts it is to use; empty: none. The policy is fitted on forecasts for queries the
            scorer had not seen; what serves is the scorer fitted on all.
        encoder: Text to vectors, for the scorer.
        seed: Of every part.
    """
    made = trainable(policy, options, seed)
    router, forecast = None, None
    if scorer:
        router = fit_router(outcomes, scorer, encoder, seed=seed)
        vectors = vectors_of(router.encoder, [q.text for q in outcomes.queries])
        forecast = out_of_sample(scorer, outcomes, vectors, seed)
    made.fit(outcomes, forecast)
    return Coordinator(made, router, about=facts_of(outcomes))


def find(spec: str, options: Mapping[str, Any] | None = None) -> Coordinator:
    """What `--policy` means: the folder of a trained router or coordinator, or the name of a policy with its options."""
    if Path(spec).is_dir():
        if options:
            raise RouterError(f"{spec} is trained: it takes no options. Leave --option out, or name a kind of policy.")
        return load_coordinator(spec)
    return Coordinator(build_policy(spec, options))
