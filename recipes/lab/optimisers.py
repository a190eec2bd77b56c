"""Muon beside AdamW on the lab's router, first lesson: `python recipes/lab/optimisers.py muon 4e-3 [--steps 400]`, and `adamw 2e-3`.

Prints the running loss and CPU seconds. The same seed gives both the same weights to begin with and the same data.
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import torch

from routewright.lab import learn
from routewright.lab.roster import ROSTER, source, vocabulary

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("optimiser", choices=("muon", "adamw"))
    parser.add_argument("rate", type=float)
    parser.add_argument("--steps", type=int, default=400)
    given = parser.parse_args()
    torch.set_num_threads(1)
    recipe = dataclasses.replace(ROSTER["router"], optimiser=given.optimiser, rate=given.rate, steps=given.steps)
    words, began = vocabulary(), time.process_time()

    def told(step: int, of: int, loss: float) -> None:
        if step % 50 == 0:
            print(
                f"{given.optimiser} {step} of {of}: loss {loss:.3f}, {time.process_time() - began:.0f} CPU s",
                flush=True,
            )

    learn.train(words, recipe.shape(len(words)), source(recipe), recipe.course, progress=told)
