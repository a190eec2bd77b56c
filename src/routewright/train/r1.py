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
from pathlib import Path

from routewright.errors import ConfigError
from routewright.folders import new_folder
from routewright.train.course import Course, Progress, by_grpo, same_run
from routewright.train.models import transformers_of, write_model
from routewright.train.play import Record
from routewright.train.r1_play import Stage
from routewright.train.r1_settings import R1Settings
from routewright.train.r1_traces import traces
from routewright.train.r1_world import ROUTER, make_world


def train_r1(settings: R1Settings, out: Path, seed: int = 0, progress: Progress | None = None) -> Record:
    """Train a router and write it; returns what came of it.

    Raises:
        MissingExtra: torch, transformers, TRL or (for a lab model) gguf is not installed.
        ConfigError: A folder with a training of other settings, or a base that can not be loaded.
    """
    # Of several processes, each keeps its own books; checkpoints are TRL's, which shares them.
    shared, rank = out, int(os.environ.get("RANK", "0"))
    out = shared / f"rank-{rank}" if rank else shared
    out.mkdir(parents=True, exist_ok=True)
    same_run(settings, out, seed)
    base, context = transformers_of(settings.base, settings.context, out / "base")
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
        course = Course(out, progress if out == shared else None)
        by_grpo(course, stage, start, settings.grpo, shared / "grpo", context, seed)
        verdict = course.close()
        _finish(settings, start, out / "best" if course.kept else None, out)
        return verdict
    finally:
        stage.close()


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
    write_model(start, best, settings.base, out / "model", out / f"{ROUTER}.gguf")
