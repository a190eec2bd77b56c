"""A trained router: an encoder and a scorer, saved and loaded together.

    router = fit(outcomes, "routewright")
    router.save("my-router")
    choice = load("my-router").route("How many vowels are in Zurich?", value_usd=0.01)

A saved router is a folder with `router.safetensors` (arrays) and `router.json` (facts). No pickle is written or read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from routewright import folders
from routewright.encoders import Encoder, build_encoder, restore_encoder
from routewright.encoders.cache import vectors_of
from routewright.errors import MissingExtra, RouterError, TableError
from routewright.folders import digest, new_folder
from routewright.outcomes.arrays import Outcomes
from routewright.scorers import Scorer, build_scorer, restore_scorer
from routewright.scorers.choose import allowed, decide, utility
from routewright.types import Call, Choice, Decision, Forecast, Query

FORMAT = 1
_ARRAYS, _FACTS = "router.safetensors", "router.json"


def fingerprint(models: Sequence[str]) -> str:
    """Sixteen hexadecimal digits that name a pool: its models, in order."""
    return hashlib.sha256("\n".join(models).encode()).hexdigest()[:16]


@dataclass
class Router:
    """An encoder and a scorer fitted on one pool."""

    encoder: Encoder
    scorer: Scorer
    presets: Mapping[str, float] = field(default_factory=dict)  # name -> value_usd
    about: Mapping[str, Any] = field(default_factory=dict)  # where it was trained, on how many queries

    @property
    def models(self) -> tuple[str, ...]:
        return self.scorer.models

    def forecast(self, queries: Sequence[Query]) -> Forecast:
        """What to expect of each model on each query."""
        return self.scorer.forecast(queries, self.encoder.encode([q.text for q in queries]))

    def decide(
        self,
        queries: Sequence[Query],
        value_usd: float,
        *,
        budget_usd: float | None = None,
        deny: Sequence[str] = (),
        epsilon: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> list[Decision]:
        """One decision a query, in one batch; see `routewright.scorers.choose`."""
        forecast = self.forecast(queries)
        return decide(forecast, value_usd, allowed(forecast, budget_usd, deny), epsilon, rng)

    def value(self, preset: str) -> float:
        """The `value_usd` of a preset chosen in training; `RouterError` for an unknown one."""
        if preset not in self.presets:
            known = ", ".join(self.presets) or "none"
            raise RouterError(f"No preset is called {preset!r}. Known: {known}. Or give a number: value_usd.")
        return self.presets[preset]

    def route(
        self,
        query: str,
        value_usd: float | None = None,
        *,
        preset: str | None = None,
        budget_usd: float | None = None,
        deny: Sequence[str] = (),
    ) -> Choice:
        """Choose a model for one query and say why.

        Args:
            query: The text.
            value_usd: What a right answer is worth, USD per unit of score; or
            preset: a trade-off chosen in training ("q100", "q99", "q95"). By default q99 where there is one.
            budget_usd: Models forecast to cost more are not considered.
            deny: Models not to be considered.
        """
        if value_usd is None:
            value_usd = self.value(preset or "q99")
        forecast = self.forecast([Query(query)])
        decision = decide(forecast, value_usd, allowed(forecast, budget_usd, deny))[0]
        assert isinstance(decision.action, Call)  # `decide` always calls a model ...
        model = decision.action.model
        assert model is not None
        assert decision.probability is not None  # ... and knows the odds
        return Choice(
            model,
            _reason(forecast, model, value_usd, decision.choices),
            decision.probability,
            value_usd,
            dict(zip(forecast.models, forecast.quality[0].tolist(), strict=True)),
            dict(zip(forecast.models, forecast.cost_usd[0].tolist(), strict=True)),
        )

    def save(self, folder: str | Path) -> None:
        """Write the router, whole or not at all; an existing router there is replaced."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        refuse_target(folder)
        with new_folder(folder) as temporary:
            encoder_arrays, encoder_meta = self.encoder.state()
            scorer_arrays, scorer_meta = self.scorer.state()
            arrays = {f"encoder.{k}": np.ascontiguousarray(v) for k, v in encoder_arrays.items()}
            arrays |= {f"scorer.{k}": np.ascontiguousarray(v) for k, v in scorer_arrays.items()}
            save_file(arrays, temporary / _ARRAYS)
            facts = {
                "format": FORMAT,
                "fingerprint": fingerprint(self.models),
                "sha256": digest(temporary / _ARRAYS),
                "models": list(self.models),
                "encoder": {"kind": self.encoder.kind, "meta": encoder_meta},
                "scorer": {"kind": self.scorer.kind, "meta": scorer_meta},
                "presets": dict(self.presets),
                "about": dict(self.about),
            }
            (temporary / _FACTS).write_text(json.dumps(facts, indent=2), encoding="utf-8")
            shutil.copymode(temporary / _FACTS, temporary / _ARRAYS)  # safetensors writes for the owner alone


def refuse_target(folder: Path) -> None:
    """Refuse to save over what is not a router."""
    folders.refuse_target(folder, _FACTS, "router")


def _reason(forecast: Forecast, model: str, value_usd: float, choices: Sequence[str]) -> str:
    """One sentence: the winner against the runner-up and against the best forecast quality."""
    names = list(forecast.models)
    gains = utility(forecast, value_usd)[0]
    at = names.index(model)
    quality, cost = forecast.quality[0], forecast.cost_usd[0]
    text = (
        f"{model}: forecast quality {quality[at]:.3f} at {cost[at]:.3g} USD; a unit of score is worth {value_usd:g} USD"
    )
    others = [names.index(name) for name in choices if name != model]
    if not others:
        return text + "; no other model was allowed."
    second = max(others, key=lambda i: gains[i])
    return text + (
        f"; next best {names[second]} ({quality[second]:.3f} at {cost[second]:.3g} USD), {gains[at] - gains[second]:.2g} USD behind."
    )


def facts_of(outcomes: Outcomes) -> dict[str, Any]:
    """What a trained thing remembers of its table."""
    quality, cost = outcomes.quality.mean(axis=0), outcomes.cost_usd.mean(axis=0)
    return {
        "table": outcomes.name,
        "queries": len(outcomes),
        "score_kind": outcomes.score_kind,
        "best_single": outcomes.models[int(np.lexsort((cost, -quality))[0])],
    }


def load(folder: str | Path, models: Sequence[str] | None = None) -> Router:
    """Read a saved router.

    Args:
        folder: What `Router.save` wrote.
        models: The pool it is to serve; by default whatever pool it was trained on.

    Raises:
        RouterError: No router there, a damaged one, one of another format, or one trained for another pool.
    """
    from safetensors.numpy import load_file

    folder = Path(folder)
    if not (folder / _FACTS).is_file():
        raise RouterError(f"{folder} holds no {_FACTS}. Expected a folder written by `routewright train`.")
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise RouterError(
                f"{folder} has router format {facts['format']}, this version reads {FORMAT}. Train it again."
            )
        arrays = load_file(folder / _ARRAYS)
        if digest(folder / _ARRAYS) != facts["sha256"]:
            raise RouterError(f"{folder}: {_ARRAYS} is not the file that was saved. Train the router again.")
        if fingerprint(facts["models"]) != facts["fingerprint"]:
            raise RouterError(f"{folder}: the list of models was changed after training. Train the router again.")
        encoder = restore_encoder(facts["encoder"]["kind"], _part(arrays, "encoder."), facts["encoder"]["meta"])
        scorer = restore_scorer(facts["scorer"]["kind"], _part(arrays, "scorer."), facts["scorer"]["meta"])
        presets = {str(name): float(value) for name, value in facts["presets"].items()}
        about = dict(facts["about"])
    except (RouterError, MissingExtra):
        raise
    except Exception as error:  # a damaged file can break anywhere in reading it; the cause stays attached
        raise RouterError(
            f"{folder} is damaged ({type(error).__name__}: {str(error)[:120]}). Train the router again."
        ) from error
    if list(scorer.models) != facts["models"]:
        raise RouterError(f"{folder} is damaged: its two files name different models. Train the router again.")
    if models is not None and fingerprint(models) != facts["fingerprint"]:
        missing = sorted(set(models) ^ set(facts["models"]))[:3]
        raise RouterError(
            f"{folder} was trained for another pool (fingerprint {facts['fingerprint']}, expected {fingerprint(models)}; "
            f"differing: {', '.join(missing) or 'the order'}). Train a router on this pool."
        )
    return Router(encoder, scorer, presets, about)


def _part(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def fit(
    outcomes: Outcomes,
    policy: str = "routewright",
    encoder: str = "hashing",
    *,
    options: Mapping[str, Any] | None = None,
    encoder_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Router:
    """Fit an encoder and a scorer on all of a table."""
    if len(outcomes.models) < 2:
        raise TableError(f"{outcomes.name} has outcomes of {len(outcomes.models)} model; routing needs at least 2.")
    text = build_encoder(encoder, encoder_options)
    texts = [q.text for q in outcomes.queries]
    text.fit(texts)
    scorer = build_scorer(policy, options, seed)
    scorer.fit(outcomes, vectors_of(text, texts))
    return Router(text, scorer, about=facts_of(outcomes))
