"""What the recipes over cut tables share: their arguments, the cut, and seeds that are kept, so that an interrupted run goes on.

Called by `designs.py` and by `recipes/graphrouter/scenarios.py`. A seed's arrays lie in `OUT/seeds/TABLE.QUERIESxMODELS.SEED.npz`;
delete them, or name another OUT, where what is measured has changed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from routewright.outcomes import load
from routewright.outcomes.arrays import Outcomes, sampled
from routewright.outcomes.table import beside
from routewright.types import Floats

Kept = dict[str, Floats]


def arguments(about: str, **more: str) -> argparse.Namespace:
    """Tables, where to, how many seeds, and the cut; torch on one thread, or the reason why there is none.

    Args:
        about: What the recipe does.
        more: Further options by name, each a comma-separated list, and what it says; empty: all.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, default=400, help="queries of a table, drawn once; 0: all")
    parser.add_argument("--pool", type=int, default=16, help="models of a table, drawn once; 0: all")
    for name, says in more.items():
        parser.add_argument(f"--{name}", type=lambda text: text.split(","), default=[], help=says)
    given = parser.parse_args()
    try:
        import torch
    except ImportError:
        parser.error('what is trained here needs torch: pip install "routewright[train]"')
    torch.set_num_threads(1)
    return given


def cut(path: Path, given: argparse.Namespace) -> tuple[Outcomes, int]:
    """The table's blind sample, and how many queries the whole has."""
    whole = load(path)
    return sampled(whole, given.most or len(whole), given.pool or len(whole.models)), len(whole)


def seeds(table: Outcomes, given: argparse.Namespace, run: Callable[[int], Kept]) -> list[Kept]:
    """What every seed found, measured or read back; each is written as soon as it is there."""
    folder = given.out / "seeds"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in range(given.seeds):
        path = folder / f"{table.name}.{len(table)}x{len(table.models)}.{seed}.npz"
        if not path.exists():
            began = time.process_time()
            made = run(seed)
            with beside(path) as part, part.open("wb") as file:
                np.savez_compressed(file, cpu_s=np.array(time.process_time() - began), **made)  # type: ignore[arg-type]
            print(path.stem, f"{time.process_time() - began:.0f} CPU s", flush=True)
        with np.load(path, allow_pickle=False) as arrays:
            found.append(dict(arrays))
    return found
