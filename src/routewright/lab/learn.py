"""Training a lab model: next-token prediction on generated question and reply pairs, on a CPU or a GPU, resumable.

    loss = - mean over the written tokens of  log p(token | everything before it)

What is written is learnt, what is shown is not; a conversation of several turns is one sequence, and its turns are learnt together.

Forward and backward run in bfloat16, three times as fast as full precision in matrix products on recent CPUs; weights and
optimiser stay in full. Batches hold pairs of like length, so little is padding. AdamW, or Muon for the matrices of the layers (Jordan et al.
2024, with the scale of Liu et al. 2025, arXiv:2502.16982) and AdamW for the rest; the rate rises over the first 2 % of steps and falls to a
tenth along a cosine, once or in several rounds (Loshchilov and Hutter 2017, arXiv:1608.03983). Data is generated without end, so nothing is seen twice but facts. Needs torch (extra `train`).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional as F

from routewright.lab.llama import Llama
from routewright.lab.shape import Shape
from routewright.lab.tokenizer import Vocabulary

Pair = tuple[str, ...]  # what the model is shown, what it has to write; may go on: shown, written, shown, written
Row = tuple[list[int], list[bool]]  # tokens, and whether each was written
Source = Callable[[np.random.Generator, int], Sequence[Pair]]  # n fresh pairs
Progress = Callable[[int, int, float], None]  # step, of, loss
_ROUND, _ROUND_ROWS = 8, 256  # lengths and batch sizes, and places learnt from, come in multiples of these
_AHEAD = 4096  # pairs drawn and sorted by length at once


@dataclass(frozen=True)
class Course:
    """How long and how fast."""

    steps: int
    tokens: int = 4096  # of a batch, padding included
    rate: float = 2e-3
    decay: float = 0.1
    seed: int = 0
    save_every_s: float = 60.0
    rounds: tuple[int, ...] = ()  # steps of each rise and fall of the rate; empty: one over all
    optimiser: Literal["adamw", "muon"] = "adamw"

    def part(self, step: int) -> float:
        """How much of its round is done, in [0, 1)."""
        for length in self.rounds:
            if step < length:
                return step / length
            step -= length
        return step / self.steps


def train(
    vocabulary: Vocabulary,
    shape: Shape,
    source: Source,
    course: Course,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
    start: Llama | None = None,
) -> Llama:
    """Train a model from scratch or from `start`, or go on from its checkpoint; the same seeds give the same model on the same machine.

    Args:
        vocabulary, shape, source, course: What, how large, on what, how long.
        checkpoint: Written every minute, and read if it is there and of the same shape and course.
        progress: Told every tenth step.
        device: Where to compute, as PyTorch names it. The model comes back on the CPU.
    """
    model = Llama(shape, course.seed)
    if start is not None:
        model.load_state_dict(start.state_dict())
    model = model.to(device)
    optimiser = Optimiser(model, course)
    done = _resume(checkpoint, model, optimiser, shape, course)
    batches = _batches(vocabulary, shape, source, course, done)
    saved, running = time.monotonic(), math.nan
    quick = copy.deepcopy(model)
    for part in quick.parameters():
        part.data = part.data.to(torch.bfloat16)
    for step in range(done, course.steps):
        optimiser.rate(course.rate * _schedule(course.part(step)))
        tokens, wanted = (part.to(device) for part in next(batches))
        loss = _descend(model, quick, tokens, wanted)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        running = loss.item() if math.isnan(running) else 0.98 * running + 0.02 * loss.item()
        if progress is not None and (step % 10 == 9 or step + 1 == course.steps):
            progress(step + 1, course.steps, running)
        if checkpoint is not None and time.monotonic() - saved > course.save_every_s:
            _save(checkpoint, model, optimiser, step + 1, shape, course)
            saved = time.monotonic()
    if checkpoint is not None:
        _save(checkpoint, model, optimiser, course.steps, shape, course)
    return model.cpu()


class Optimiser:
    """The course's optimiser, one for matrices of layers and one for all else where they differ."""

    def __init__(self, model: Llama, course: Course) -> None:
        named = list(model.named_parameters())
        muon = course.optimiser == "muon"
        layers = [p for name, p in named if muon and p.dim() == 2 and "embed" not in name]
        kept = {id(p) for p in layers}
        decayed = [p for _, p in named if p.dim() == 2 and id(p) not in kept]
        plain = [p for _, p in named if p.dim() != 2]
        groups = [{"params": decayed, "weight_decay": course.decay}, {"params": plain, "weight_decay": 0.0}]
        self.parts: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=course.rate, betas=(0.9, 0.95))]
        if layers:
            scale = {"adjust_lr_fn": "match_rms_adamw"}  # so that both take the same rate
            self.parts.append(torch.optim.Muon(layers, lr=course.rate, weight_decay=course.decay, **scale))  # type: ignore[arg-type]

    def rate(self, value: float) -> None:
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = value

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def _descend(model: Llama, quick: Llama, tokens: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Gradients of the batch's loss for `model`, computed by `quick`, its copy in half precision.

    Only places that are learnt from are taken to the vocabulary: they are about a quarter. Their number is filled up to
    a round one, for every new shape makes the library build new kernels, which takes time and memory.
    """
    with torch.no_grad():
        for fast, full in zip(quick.parameters(), model.parameters(), strict=True):
            fast.copy_(full)
            fast.grad = None
    flat = wanted.flatten()
    learnt = torch.nonzero(flat >= 0).squeeze(1)
    rows = F.pad(learnt, (0, -len(learnt) % _ROUND_ROWS))
    targets = flat[rows]
    targets[len(learnt) :] = -1
    x, _ = quick.hidden(tokens)
    loss = F.cross_entropy(quick.logits(x.flatten(0, 1)[rows]).float(), targets, ignore_index=-1)
    loss.backward()
    for fast, full in zip(quick.parameters(), model.parameters(), strict=True):
        full.grad = None if fast.grad is None else fast.grad.float()
    return loss.detach()


def _schedule(done: float) -> float:
    return done / 0.02 if done < 0.02 else 0.1 + 0.45 * (1 + math.cos(math.pi * (done - 0.02) / 0.98))


def _batches(
    vocabulary: Vocabulary, shape: Shape, source: Source, course: Course, skip: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of pairs of like length: tokens [B, T] and the next token of each place [B, T], -1 where nothing is learnt.

    Draw number k depends on the seed and k alone, so a resumed run goes on with fresh data.
    """
    draw = skip  # every draw makes several batches, so no draw is made twice
    while True:
        rng = np.random.default_rng((course.seed, draw))
        draw += 1
        pairs = source(rng, _AHEAD)
        texts = iter(vocabulary.encode([text for pair in pairs for text in pair]))
        made = [_row([next(texts) for _ in pair], vocabulary.end) for pair in pairs]
        rows = [row for row in made if len(row[0]) <= shape.context]
        rows.sort(key=_length)
        ready, at = [], 0
        while at < len(rows):
            size = max(1, course.tokens // _length(rows[min(at + _ROUND, len(rows) - 1)]))
            size = max(1, course.tokens // _length(rows[min(at + size, len(rows)) - 1]))
            size = size // _ROUND * _ROUND or size
            ready.append(rows[at : at + size])
            at += size
        for i in rng.permutation(len(ready)):
            yield _tensors(ready[i], vocabulary.pad)


def _row(parts: Sequence[Sequence[int]], end: int) -> Row:
    """The tokens of a pair with the end behind them, and of each whether it was written rather than shown."""
    tokens = [token for part in parts for token in part]
    written = [bool(i % 2) for i, part in enumerate(parts) for _ in part]
    return [*tokens, end], [*written, True]


def _length(row: Row) -> int:
    """Places of a pair, filled up to a round number."""
    return len(row[0]) + -len(row[0]) % _ROUND


def _tensors(rows: Sequence[Row], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(_length(row) for row in rows)
    tokens = torch.full((len(rows), length), pad)
    wanted = torch.full((len(rows), length), -1)
    for i, (ids, written) in enumerate(rows):
        whole = torch.tensor(ids)
        tokens[i, : len(whole) - 1] = whole[:-1]
        wanted[i, : len(whole) - 1] = torch.where(torch.tensor(written[1:]), whole[1:], -1)
    return tokens, wanted


def _save(path: Path, model: Llama, optimiser: Optimiser, step: int, shape: Shape, course: Course) -> None:
    """Whole or not at all; tensors only, so it is read without running any code."""
    from routewright.outcomes.table import beside

    facts = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "for": _name(shape, course),
    }
    with beside(path) as temporary:
        torch.save(facts, temporary)


def _resume(path: Path | None, model: Llama, optimiser: Optimiser, shape: Shape, course: Course) -> int:
    if path is None or not path.exists():
        return 0
    facts = torch.load(path, weights_only=True, map_location=model.embed_tokens.weight.device)
    if facts["for"] != _name(shape, course):
        return 0  # a checkpoint of another recipe is no beginning of this one
    model.load_state_dict(facts["model"])
    optimiser.load_state_dict(facts["optimiser"])
    return int(facts["step"])


def _name(shape: Shape, course: Course) -> str:
    return f"{shape} {course}"
