"""The course of a training: history, looks at questions nobody learns from, and the best weights so far, in a folder.

What is kept is the best that was met, if it beats the start by more than its standard error on the same questions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from routewright.config import Config, dump
from routewright.errors import ConfigError
from routewright.folders import new_folder
from routewright.outcomes.table import beside
from routewright.train.learner import Sampler
from routewright.train.play import Record, Stage
from routewright.train.plot import curve
from routewright.train.r1_settings import GrpoSettings
from routewright.types import Floats

Progress = Callable[[Record], None]


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


def by_grpo(
    course: Course, stage: Stage, start: str, settings: GrpoSettings, work: Path, context: int, seed: int
) -> None:
    """Reinforce the model in the folder `start` on a stage, looked at as the course says; an interrupted run goes on from `work`."""
    from routewright.train import grpo_trl
    from routewright.train.hf_sampler import HfSampler

    model, tokenizer = grpo_trl.load(start)

    def sampler_of(network: Any, temperature: float) -> Sampler:
        return HfSampler(network, tokenizer, context, temperature)

    def looked(step: int, sampler: Sampler, save: Callable[[Path], None]) -> None:
        course.looked(step, *stage.look(sampler), save)

    newest = grpo_trl.newest(work)
    course.resume(int(newest.rpartition("-")[2]) if newest else 0)
    if not len(course.base):
        course.looked(0, *stage.look(sampler_of(model, 0.0)), None)
    grpo_trl.grpo(model, tokenizer, stage, settings, work, sampler_of, looked, course.told, seed)


def same_run(settings: Config, out: Path, seed: int) -> None:
    """A folder belongs to one training; `ConfigError` if it is of other settings."""
    told = json.dumps({"seed": seed, **json.loads(dump(settings))}, indent=2, sort_keys=True)
    file = out / "run.json"
    if file.is_file() and file.read_text(encoding="utf-8") != told:
        raise ConfigError(
            f"{out} has a training of other settings (run.json). Expected the same, to go on with, or another folder."
        )
    with beside(file) as temporary:
        temporary.write_text(told, encoding="utf-8")
