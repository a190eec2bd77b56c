"""Training a router: conversations to imitate, then reinforcement on the engine's own episodes; resumed where it was interrupted.

    told = train_r1(settings, Path("out/r1"), seed=0, progress=print)

    run.json         what it was told                 history.jsonl   a line a step: reward, quality, cost, calls, collapse block
    traces.jsonl     conversations to imitate         curve.svg       reward in training, utility on questions held out
    warm/            the model after imitation        best/           the weights that did best on questions held out
    model/           the trained model for transformers, and of a lab model NAME.gguf too

What is kept is the best that was met on questions nobody learnt from, if it beats the start by more than its standard error; else
the start is kept, and that is said. Torch and TRL are met in `grpo_trl` and `hf_sampler` alone.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from routewright.config import dump
from routewright.errors import ConfigError
from routewright.folders import new_folder
from routewright.outcomes.table import beside
from routewright.train.plot import curve
from routewright.train.r1_play import Record, Stage
from routewright.train.r1_rollout import Sampler
from routewright.train.r1_settings import R1Settings
from routewright.train.r1_traces import traces
from routewright.train.r1_world import ROUTER, make_world
from routewright.types import Floats

Progress = Callable[[Record], None]
_RAW = "{% for m in messages %}{{ m['content'] }}{% endfor %}"  # a router goes on where the prompt ends


class Course:
    """History, looks and the best so far, in a folder; what was there is taken up."""

    def __init__(self, out: Path, progress: Progress | None) -> None:
        self.out, self.progress = out, progress
        self.history: list[Record] = []
        self.base: Floats = np.zeros(0)
        self.gained = self.error = 0.0
        self.best_step = 0
        if (out / "watch.json").is_file():
            told = json.loads((out / "watch.json").read_text(encoding="utf-8"))
            self.base = np.array(told["base"])
            self.gained, self.error, self.best_step = told["gained"], told["error"], told["best_step"]

    def resume(self, step: int) -> None:
        """Keep the history up to a checkpoint's step."""
        if (file := self.out / "history.jsonl").is_file():
            lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
            self.history = [r for r in lines if r["update"] <= step]

    def told(self, step: int, record: Record) -> None:
        self.history.append({"update": step, "return": record.get("reward"), **record})
        self._write()
        if self.progress is not None:
            self.progress(self.history[-1])

    def looked(self, step: int, record: Record, gains: Floats, save: Callable[[Path], None] | None) -> None:
        """Compare with the start on the same questions; keep the weights if they are the best so far."""
        if step == 0:
            self.base = gains
        difference = gains - self.base
        mean, error = float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))
        if mean > self.gained and save is not None:
            with new_folder(self.out / "best") as temporary:
                save(temporary)
            self.gained, self.error, self.best_step = mean, error, step
        told = {**record, "held_out": float(gains.mean()), "held_out_gain": mean, "held_out_error": error}
        if self.history and self.history[-1]["update"] == step:
            self.history[-1] |= told
        else:
            self.history.append({"update": step, **told})
        self._write()
        state = {"base": self.base.tolist(), "gained": self.gained, "error": self.error, "best_step": self.best_step}
        with beside(self.out / "watch.json") as temporary:
            temporary.write_text(json.dumps(state), encoding="utf-8")
        if self.progress is not None:
            self.progress({"update": step, **told})

    @property
    def kept(self) -> bool:
        """Whether the best is better than the start by more than its standard error."""
        return self.gained > self.error and (self.out / "best").is_dir()

    def close(self) -> Record:
        verdict = {"kept": self.kept, "gain": self.gained, "error": self.error, "start": float(self.base.mean())}
        with beside(self.out / "curve.svg") as temporary:
            shown = [{k: v for k, v in r.items() if v is not None} for r in self.history]
            temporary.write_text(curve(shown, verdict), encoding="utf-8")
        return {**verdict, "best_step": self.best_step}

    def _write(self) -> None:
        with beside(self.out / "history.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in self.history), encoding="utf-8")


def train_r1(settings: R1Settings, out: Path, seed: int = 0, progress: Progress | None = None) -> Record:
    """Train a router and write it; returns what came of it.

    Raises:
        MissingExtra: torch, transformers, TRL or (for a lab model) gguf is not installed.
        ConfigError: A folder with a training of other settings, or a base that can not be loaded.
    """
    from routewright.train import grpo_trl
    from routewright.train.hf_sampler import HfSampler

    # Of several processes, each keeps its own books; checkpoints are TRL's, which shares them.
    shared, rank = out, int(os.environ.get("RANK", "0"))
    out = shared / f"rank-{rank}" if rank else shared
    out.mkdir(parents=True, exist_ok=True)
    _same(settings, out, seed)
    base, context = _base(settings, out)
    runner = asyncio.Runner()
    try:
        world = runner.run(make_world(settings.world, out))
    except BaseException:
        runner.close()
        raise
    stage = Stage(settings, world, seed, runner=runner)
    try:
        start = _warm(settings, stage, base, context, out, seed)
        if settings.grpo is None:
            _finish(settings, start, None, out)
            return {"kept": True, "warm": str(start)}
        model, tokenizer = grpo_trl.load(str(start))
        course = Course(out, progress if out == shared else None)

        def sampler_of(network: Any, temperature: float) -> Sampler:
            return HfSampler(network, tokenizer, context, temperature)

        work = shared / "grpo"
        newest = grpo_trl.newest(work)
        done = int(newest.rpartition("-")[2]) if newest else 0
        course.resume(done)
        if not len(course.base):
            course.looked(0, *stage.look(sampler_of(model, 0.0)), None)

        def looked(step: int, sampler: Sampler, save: Callable[[Path], None]) -> None:
            course.looked(step, *stage.look(sampler), save)

        grpo_trl.grpo(model, tokenizer, stage, settings.grpo, work, sampler_of, looked, course.told, seed)
        verdict = course.close()
        _finish(settings, start, out / "best" if course.kept else None, out)
        return verdict
    finally:
        stage.close()


def _same(settings: R1Settings, out: Path, seed: int) -> None:
    """A folder belongs to one training."""
    told = json.dumps({"seed": seed, **json.loads(dump(settings))}, indent=2, sort_keys=True)
    file = out / "run.json"
    if file.is_file() and file.read_text(encoding="utf-8") != told:
        raise ConfigError(
            f"{out} has a training of other settings (run.json). Expected the same, to go on with, or another folder."
        )
    with beside(file) as temporary:
        temporary.write_text(told, encoding="utf-8")


def _base(settings: R1Settings, out: Path) -> tuple[str, int]:
    """The folder or name that transformers loads, and the tokens a conversation may have."""
    if not settings.base.endswith(".gguf"):
        return settings.base, settings.context
    from routewright.lab.export import read_gguf, write_safetensors

    shape, words, weights = read_gguf(settings.base)
    write_safetensors(out / "base", weights, shape, words)
    return str(out / "base"), shape.context


def _warm(settings: R1Settings, stage: Stage, base: str, context: int, out: Path, seed: int) -> str:
    """The model that reinforcement starts from: the base, or what imitation makes of it."""
    if settings.sft is None:
        return base
    from routewright.train import grpo_trl
    from routewright.train.hf_sampler import HfSampler

    warm = out / "warm"
    if (warm / "config.json").is_file():
        return str(warm)
    model, tokenizer = grpo_trl.load(base)
    rows = stage.runner.run(traces(stage, HfSampler(model, tokenizer, context), out / "traces.jsonl"))
    if not rows:
        raise ConfigError(
            f"No conversation to imitate came out of {len(stage.world.train)} questions. Expected some with a right answer: give more tries, "
            "or keep_wrong for random routes."
        )
    losses = grpo_trl.sft(model, tokenizer, rows, settings.sft, out / "sft", seed)
    (out / "sft.json").write_text(json.dumps({"rows": len(rows), "losses": losses}), encoding="utf-8")
    with new_folder(warm) as temporary:
        model.save_pretrained(str(temporary))
        tokenizer.save_pretrained(str(temporary))
    return str(warm)


def _finish(settings: R1Settings, start: str, best: Path | None, out: Path) -> None:
    """Write the model for transformers, and of a lab model the GGUF too."""
    from routewright.train import grpo_trl

    adapter = best if best is not None and (best / "adapter_config.json").is_file() else None
    whole = best is not None and adapter is None
    model, tokenizer = grpo_trl.load(start, adapter)
    if whole:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(str(best))
    lab = settings.base.endswith(".gguf")
    if not lab:
        tokenizer.chat_template = _RAW
    with new_folder(out / "model") as temporary:
        model.save_pretrained(str(temporary))
        tokenizer.save_pretrained(str(temporary))
    if lab:
        from routewright.lab.export import read_gguf, write_gguf
        from routewright.lab.roster import ROSTER

        shape, words, _ = read_gguf(settings.base)
        weights = {k: v.detach().float().numpy() for k, v in model.state_dict().items() if k.startswith("model.")}
        write_gguf(out / f"{ROUTER}.gguf", weights, shape, words, ROUTER, ROSTER[ROUTER].about)
