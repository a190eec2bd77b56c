"""Training both halves of `r2`: each by imitation first, then in turn by reinforcement on whole answers, the other half held fixed.

    told = train_r2(settings, Path("out/r2/course-0"), seed=0, progress=print)

    run.json                   what it was told
    0-decomposer, 0-allocator  after imitation: of plans that came out right; a router fitted on outcomes of subtasks
    1-allocator, 1-decomposer  after the first round; and so on
        verdict.json           whether it is better than what it began with, on questions nobody learns from; else that is kept
        history.jsonl          a line a step        curve.svg      the same for people
        model/, NAME.gguf      of a language model: for transformers, and of a lab model for llama.cpp
        coordinator/           of forecasts: the policy, its router, and what reinforcement has added

A stage that is done is not done again; one of a language model that was interrupted goes on from its newest checkpoint, one of forecasts begins
anew. A half without a course is left as it is. One process: several GPUs are not served.

    decomposer    imitation of the plans of `routewright r2 plans`; GRPO on plans
    allocator     forecasts: `r2_allocator`; a language model: imitation of the cheapest allocations that were right; GRPO

Reference: Shao et al. 2025 (Route-and-Reason), arXiv:2506.05901: imitation, then alternating GRPO. Differs: the allocator may be
forecasts; only what is better on questions held out is kept; every token of the decomposer is charged.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from routewright.coordinator import Coordinator, load_coordinator
from routewright.errors import ConfigError
from routewright.folders import new_folder
from routewright.outcomes import load as load_table
from routewright.outcomes.table import beside
from routewright.policies.r2 import R2
from routewright.policies.r2_fits import Fits, fit_fits
from routewright.router import Router, fit
from routewright.train.course import Course, Progress, by_grpo, same_run
from routewright.train.learner import Sampler
from routewright.train.models import transformers_of, write_model
from routewright.train.play import Record
from routewright.train.r2_allocator import reinforce
from routewright.train.r2_course_settings import Half, R2Settings, Writer
from routewright.train.r2_play import Questions, R2Stage, divided, with_networks
from routewright.train.r2_rows import allocator_pairs, decomposer_pairs, rows_of
from routewright.train.r2_search import OUTCOMES
from routewright.train.r2_world import DataWorld, open_world

VERDICT = "verdict.json"
HALVES: tuple[Half, Half] = ("decomposer", "allocator")
_ROUND = 1000  # added to the seed a round, so that no round draws what the one before drew


@dataclass
class Network:
    """A half that is a language model: what is trained, and where its newest weights are."""

    name: str  # in the pool
    told: Writer
    folder: str
    context: int


@dataclass
class Halves:
    """Both halves as they stand."""

    settings: R2Settings
    world: DataWorld
    questions: Questions
    policy: R2
    out: Path
    seed: int
    progress: Progress | None
    networks: dict[Half, Network] = field(default_factory=dict)
    router: Router | None = None
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    # -- stages

    def begin(self) -> None:
        """Networks as they were given, then stage 0."""
        c, told = self.policy.config, self.settings
        parts: dict[Half, tuple[str, Writer]] = {
            "decomposer": (c.decomposer, told.decomposer),
            "allocator": (c.allocator, told.allocator),
        }
        for half, (name, writer) in parts.items():
            if writer.base:
                folder, context = transformers_of(writer.base, writer.context, self.out / f"base-{half}")
                self.networks[half] = Network(name, writer, folder, context)
        for half in HALVES:
            self.imitate(half)

    def imitate(self, half: Half) -> None:
        """Stage 0 of a half."""
        network = self.networks.get(half)
        if network is None:
            if half == "allocator":
                self._fit()
            return
        folder = self.out / f"0-{half}"
        if network.told.sft is not None and not (folder / VERDICT).is_file():
            self._sft(half, network, folder)
        if network.told.sft is not None:
            network.folder = str(folder / "model")

    def reinforce(self, half: Half, number: int) -> Record | None:
        """A stage of a round; what came of it, None if this half has no course."""
        folder, network = self.out / f"{number}-{half}", self.networks.get(half)
        if network is not None and network.told.grpo is not None:
            verdict = _read(folder) or self._grpo(half, network, folder, self.seed + _ROUND * (number - 1))
            network.folder = str(folder / "model")
            return verdict
        if half == "allocator" and self.router is not None and self.settings.allocator.reinforcement is not None:
            verdict = _read(folder) or self._gradient(folder, self.seed + _ROUND * (number - 1))
            self._take(folder)
            return verdict
        return None

    # -- language models

    def _sft(self, half: Half, network: Network, folder: Path) -> None:
        from routewright.train import grpo_trl

        assert network.told.sft is not None
        data = Path(self.settings.data)
        pairs = (
            decomposer_pairs(data, self.settings.decomposer.solved)
            if half == "decomposer"
            else allocator_pairs(data, self.policy.config.form)
        )
        model, tokenizer = grpo_trl.load(network.folder)
        rows = rows_of(pairs, tokenizer, network.context)
        if not rows:
            raise ConfigError(f"{data} has nothing that the {half} could imitate. Expected plans that came out right.")
        losses = grpo_trl.sft(model, tokenizer, rows, network.told.sft, folder / "sft", self.seed)
        with new_folder(folder / "weights") as temporary:
            model.save_pretrained(str(temporary))
        self._written(network, folder, folder / "weights", {"rows": len(rows), "losses": losses, "kept": True})

    def _grpo(self, half: Half, network: Network, folder: Path, seed: int) -> Record:
        assert network.told.grpo is not None
        folder.mkdir(parents=True, exist_ok=True)
        stage = R2Stage(
            self.settings,
            self.world,
            self.questions,
            self.policy,
            half,
            self.samplers(without=half),
            network.context,
            seed,
            runner=self.runner,
        )
        course = Course(folder, self._told(half))
        by_grpo(course, stage, network.folder, network.told.grpo, folder / "grpo", network.context, seed)
        return self._written(network, folder, folder / "best" if course.kept else None, course.close())

    def _written(self, network: Network, folder: Path, best: Path | None, verdict: Record) -> Record:
        write_model(network.folder, best, network.told.base, folder / "model", folder / f"{network.name}.gguf")
        return _tell(folder, verdict)

    def samplers(self, without: Half | None = None) -> dict[str, Sampler]:
        """The networks as they stand, greedy, by their names in the pool."""
        from routewright.train import grpo_trl

        return {
            n.name: _sampler(*grpo_trl.load(n.folder), n.context, 0.0)
            for half, n in self.networks.items()
            if half != without
        }

    # -- forecasts

    def _fit(self) -> None:
        """The router of subtasks, and what tells kinds of answers apart."""
        folder = self.out / "0-allocator"
        if not self.settings.data:
            return
        if not (folder / VERDICT).is_file():
            table = Path(self.settings.data) / OUTCOMES
            if not table.is_file():
                raise ConfigError(f"{table} is not there. Expected what `routewright r2 allocations` writes.")
            models = self._models(table)
            router = fit(load_table(table, models), self.settings.allocator.scorer, seed=self.seed)
            self.policy.fits = fits_of(table)
            self._save(folder, router)
            _tell(folder, {"subtasks": len(pl.read_parquet(table)["query_id"].unique()), "kept": True})
        self._take(folder)

    def _models(self, table: Path) -> list[str]:
        c = self.policy.config
        known = pl.read_parquet(table, columns=["model"])["model"].unique().to_list()
        wanted = c.models or [n for n in self.world.pool.models if n not in (c.decomposer, c.allocator)]
        return [name for name in wanted if name in known]

    def _gradient(self, folder: Path, seed: int) -> Record:
        assert self.settings.allocator.reinforcement is not None
        told = self._told("allocator")
        history: list[Record] = []

        def step(record: Record) -> None:
            history.append(record)
            told(record)

        pool = with_networks(self.world.pool, self.samplers())
        train, held = self.questions.train, self.questions.held_out
        made = self.runner.run(
            reinforce(self.policy, pool, train, held, self.settings.allocator.reinforcement, seed, step)
        )
        assert self.router is not None
        self._save(folder, self.router)
        with beside(folder / "history.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in history), encoding="utf-8")
        last = made[-1]
        return _tell(
            folder,
            {"kept": last["kept"], "gain": last["best_gain"], "error": last["best_error"], "start": last["start"]},
        )

    def _save(self, folder: Path, router: Router) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        low, high = self.settings.reward.value_usd
        presets = {"default": (low * high) ** 0.5}
        Coordinator(self.policy, router, presets, dict(router.about)).save(folder / "coordinator")

    def _take(self, folder: Path) -> None:
        """The allocator of a stage that is done."""
        made = load_coordinator(folder / "coordinator")
        policy, self.router = made.policy, made.router
        assert isinstance(policy, R2)
        self.policy.forecaster, self.policy.fits = policy.forecaster, policy.fits
        if policy.weights is not None:
            self.policy.take(policy.names, policy.weights)

    def _told(self, half: Half) -> Progress:
        def told(record: Record) -> None:
            if self.progress is not None:
                self.progress({"half": half, **record})

        return told

    def close(self) -> None:
        self.runner.run(self.world.pool.aclose())
        self.runner.close()


def train_r2(settings: R2Settings, out: Path, seed: int = 0, progress: Progress | None = None) -> list[Record]:
    """Train both halves, in turn; returns a record a stage.

    Raises:
        MissingExtra: torch, transformers, TRL or (for a lab model) gguf is not installed.
        ConfigError: A folder with a training of other settings, a base that can not be loaded, data or a model that is not there.
    """
    if settings.data and not Path(settings.data).is_dir():
        raise ConfigError(
            f"{settings.data} is no folder. Expected what `routewright r2 plans` and `r2 allocations` made."
        )
    out.mkdir(parents=True, exist_ok=True)
    c = settings.policy
    world = open_world(settings.world, {c.decomposer, c.allocator, c.answerer, settings.review.model, *c.models}, out)
    if len(world.asked) <= settings.held_out:
        raise ConfigError(
            f"There are {len(world.asked)} questions and held_out = {settings.held_out}. Expected more than are held out."
        )
    same_run(settings, out, seed)
    questions = divided(world, settings.held_out, settings.world.seed)
    halves = Halves(settings, world, questions, R2(c, seed), out, seed, progress)
    found: list[Record] = []
    try:
        halves.begin()
        for number in range(1, settings.rounds + 1):
            for half in HALVES if settings.first == "decomposer" else reversed(HALVES):
                verdict = halves.reinforce(half, number)
                if verdict is not None:
                    found.append({"stage": f"{number}-{half}", **verdict})
    finally:
        halves.close()
    return found


def fits_of(table: Path) -> Fits:
    """Kinds of answers, from the references of a table of subtasks."""
    rows = pl.read_parquet(table).unique("query_id", keep="first", maintain_order=True)
    return fit_fits(rows["query"].to_list(), rows["reference"].to_list())


def _sampler(model: Any, tokenizer: Any, context: int, temperature: float) -> Sampler:
    from routewright.train.hf_sampler import HfSampler

    return HfSampler(model, tokenizer, context, temperature)


def _tell(folder: Path, verdict: Record) -> Record:
    with beside(folder / VERDICT) as temporary:
        temporary.write_text(json.dumps(verdict), encoding="utf-8")
    return verdict


def _read(folder: Path) -> Record | None:
    file = folder / VERDICT
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None
