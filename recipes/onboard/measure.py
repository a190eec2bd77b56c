"""Let every model of a table join as if it were new, and keep what came of it: one JSON Lines file a table.

    python recipes/onboard/measure.py ../shared/data/math_l5.parquet --out out/onboard [--seeds 5] [--known 8]

A seed deals the queries into two halves by text and task. The first half is the table: all other models have answered it,
the new one is probed on seven tenths of it, and its forecasts are judged on the other three tenths, the same for every
way of probing (what a design leaves unasked is no fair test: it asks what is hardest to foresee). The second half is what comes later: routers fitted on the first half,
with the new model's column as recorded, as forecast, or left out, choose there and are paid by what was recorded. The
pool is three, or seven, of the other models, drawn by the seed, and the new one. With `--known` only so many of the others have
answered anything, drawn anew for each new model.

Interrupted, the same command goes on after the last seed it finished.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from routewright.encoders import build_encoder
from routewright.outcomes import Outcomes, folds, load
from routewright.profiles.abilities import Abilities, fit_abilities, prior, update
from routewright.profiles.design import Design, choose_probes
from routewright.profiles.newcomer import Newcomer, forecast
from routewright.scorers.linear import decompose, ridge

PROBES = (0, 10, 20, 50, 200)
DESIGNS: tuple[Design, ...] = ("adaptive", "information", "random", "stratified")
BATCH = 10
DIMENSIONS = 2
POOLS = (3, 7)  # models before the new one joins
TIMES = (3.0, 10.0, 30.0, 100.0, 1000.0)  # value of a right answer, in mean costs of the pool's best single model


def prices(path: Path) -> dict[str, tuple[float, float]]:
    """USD per million tokens in and out by model name, aliases included."""
    import yaml  # type: ignore[import-untyped]

    found = {}
    for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["models"]:
        for name in (entry["name"], *entry.get("aliases", ())):
            found[name] = (float(entry["usd_per_mtok_in"]), float(entry["usd_per_mtok_out"]))
    return found


def probes_of(
    table: Outcomes, at: Abilities, open_: Any, truth: Any, cost: Any, card_usd: float, design: Design, seed: int
) -> dict[int, Newcomer]:
    """The forecast after each number of probes."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(0, dtype=np.int64)
    free = open_.copy()
    start = prior(at, table.cost_usd.mean(axis=0), card_usd)
    out = {}
    if design in ("random", "stratified"):
        order = choose_probes(at, start, free, max(PROBES), design, rng, table.strata)
        for n in PROBES:
            out[n] = forecast(table, at, order[:n], truth[order[:n]], cost[order[:n]], card_usd)
        return out
    belief = start
    for n in PROBES:
        while len(rows) < min(n, int(open_.sum())):
            new = choose_probes(at, belief, free, BATCH, design, rng)
            free[new] = False
            rows = np.concatenate([rows, new])
            belief = update(start, at.take(rows), truth[rows])
        out[n] = forecast(table, at, rows, truth[rows], cost[rows], card_usd)
    return out


class World:
    """A pool that a model joins: what routers that know it in full, in part, or not at all are worth on later queries."""

    def __init__(
        self, later: Outcomes, expected: Any, usual: Any, pool: list[int], new: int, values: list[float]
    ) -> None:
        self.later, self.expected, self.usual, self.columns, self.values = later, expected, usual, [*pool, new], values
        self.without: list[float] = [self._utility(expected, usual, v) for v in values]
        self.full: list[float] = []

    @classmethod
    def of(cls, table: Outcomes, later: Outcomes, true: Any, new: int, pool: list[int]) -> World:
        """`true` [later, M] are forecasts of routers that know every column."""
        usual = table.cost_usd.mean(axis=0)
        best = max(pool, key=lambda i: float(table.quality[:, i].mean()))
        world = cls(later, true[:, pool], usual[pool], pool, new, [t * float(usual[best]) for t in TIMES])
        world.full = world.gain(true[:, new], float(usual[new]))
        return world

    def gain(self, guess: Any, cost_usd: float) -> list[float]:
        """[trade-offs] what the pool gains by a router that expects `guess` [later] of the new model at that cost."""
        expected, usual = np.column_stack([self.expected, guess]), np.append(self.usual, cost_usd)
        return [self._utility(expected, usual, v) - w for v, w in zip(self.values, self.without, strict=True)]

    def _utility(self, expected: Any, usual: Any, value: float) -> float:
        """Mean score - cost / value of the router's choices, as recorded."""
        chosen = np.asarray(self.columns)[(expected - usual / value).argmax(axis=1)]
        at = np.arange(len(self.later))
        return float((self.later.quality[at, chosen] - self.later.cost_usd[at, chosen] / value).mean())


def one_seed(whole: Outcomes, cards: dict[str, tuple[float, float]], seed: int, few: int = 0) -> list[dict[str, Any]]:
    """Every model as the new one."""
    fold = folds(whole.groups, whole.strata, 2, seed)
    table, later = whole.take(np.flatnonzero(fold == 0)), whole.take(np.flatnonzero(fold == 1))
    encoder = build_encoder("hashing", {})
    texts = [q.text for q in table.queries]
    encoder.fit(texts)
    parts = decompose(encoder.encode(texts).astype(np.float64))
    x = encoder.encode([q.text for q in later.queries]).astype(np.float64)
    true = ridge(parts, table.quality, each=True)(x)  # [later, M]
    usual = table.cost_usd.mean(axis=0)
    tokens = [float(np.nanmean(t)) if np.isfinite(t).any() else 0.0 for t in (table.tokens_in, table.tokens_out)]
    rng = np.random.default_rng(1000 + seed)
    judged = rng.random(len(table)) < 0.3
    rows = []
    for m, name in enumerate(table.models):
        others = [i for i in range(len(table.models)) if i != m]
        if few:
            others = sorted(int(i) for i in rng.choice(others, few, replace=False))
        known = table.with_models([table.models[i] for i in others])
        truth, cost = table.quality[:, m], table.cost_usd[:, m]
        price = cards.get(name)
        card = usual[m] if price is None else (tokens[0] * price[0] + tokens[1] * price[1]) / 1e6
        worlds = [
            World.of(table, later, true, m, [int(i) for i in rng.choice(others, n, replace=False)]) for n in POOLS
        ]
        began = time.process_time()
        at = fit_abilities(known.quality, DIMENSIONS)
        told: list[tuple[str, int, Any, Any, float | None]] = []
        for design in DESIGNS:
            if design == "stratified" and len(set(table.strata)) == 1:
                continue
            for n, new in probes_of(known, at, ~judged, truth, cost, card, design, seed).items():
                if n == 0 and design != "random":
                    continue
                mean = new.mean()
                told.append((design, n, new.quality, new, mean["std"]))
        order = choose_probes(at, prior(at), ~judged, max(PROBES), "random", np.random.default_rng(seed))
        told += rivals(known, truth, order)
        seconds = time.process_time() - began
        guess = ridge(parts, np.column_stack([t[2] for t in told]), each=True)(x)
        for i, (way, n, quality, new, std) in enumerate(told):
            probed = new.probed if isinstance(new, Newcomer) else new
            p = np.clip(quality[judged], 0.01, 0.99)
            y = truth[judged]
            paid = (
                float(new.cost_usd.mean()) if isinstance(new, Newcomer) else (float(cost[probed].mean()) if n else card)
            )
            gains = [world.gain(guess[:, i], paid) for world in worlds]
            rows.append(
                {
                    "seed": seed,
                    "model": name,
                    "design": way,
                    "probes": n,
                    "brier": float(((y - p) ** 2).mean()),
                    "log_loss": float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()),
                    "mean": float(quality.mean()),
                    "true_mean": float(truth.mean()),
                    "std": std,
                    "cost_log_error": abs(float(np.log(max(paid, 1e-12) / max(usual[m], 1e-12)))),
                    "gain": gains,  # [pools][trade-offs]
                    "full": [world.full for world in worlds],
                    "bins": _bins(p, y) if isinstance(new, Newcomer) else None,
                    "seconds": seconds,
                }
            )
    return rows


def rivals(known: Outcomes, truth: Any, order: Any) -> list[tuple[str, int, Any, Any, None]]:
    """The probes' mean for every query, drawn to the others' mean by two probes' worth; and each query's mean over the
    others, shifted by what the probes are off."""
    usual, told = known.quality.mean(axis=1), []
    for n in PROBES:
        some = order[:n]
        flat = np.full(len(truth), (truth[some].sum() + 2 * known.quality.mean()) / (n + 2))
        off = (truth[some] - usual[some]).mean() * n / (n + 2) if n else 0.0
        shifted = np.clip(usual + off, 0.01, 0.99)
        flat[some] = shifted[some] = truth[some]
        told += [("mean of probes", n, flat, some, None), ("others' mean, shifted", n, shifted, some, None)]
    return told


def _bins(p: Any, y: Any) -> list[list[float]]:
    """Count, sum of forecasts and sum of scores in ten bins of the forecast."""
    at = np.minimum((p * 10).astype(int), 9)
    return [np.bincount(at, w, 10).round(4).tolist() for w in (np.ones(len(p)), p, y)]


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out/onboard"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", type=int, default=0, help="only the first so many, to try it")
    parser.add_argument("--known", type=int, default=0, help="how many other models have answered; 0: all")
    given = parser.parse_args()
    whole = load(given.table)
    if given.models:
        whole = whole.with_models(whole.models[: given.models])
    cards = prices(given.table.parent / "models.yaml")
    given.out.mkdir(parents=True, exist_ok=True)
    for seed in range(given.seeds):
        out = given.out / f"{whole.name}.{seed}.jsonl"
        if out.exists():
            continue
        began = time.process_time()
        rows = one_seed(whole, cards, seed, given.known)
        beside = out.with_suffix(".part")
        beside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        beside.rename(out)
        print(f"{out}  {len(rows)} rows, {time.process_time() - began:.0f} CPU seconds", flush=True)


if __name__ == "__main__":
    main()
