"""Do trained profiles help new models? Every model of a table left out of the training in turn, then known by a few probes.

    python recipes/route_profile/newcomer.py ../shared/data/mmlu_redux.parquet --out out/route_profile_new

A seed deals the queries into two halves and draws probes and pools as `recipes/onboard/measure.py` does, whose forecasts by
abilities stand beside. On the first half profiles (`PROFILES`), the routers `mlp` and `graph`, and `graphrouter`
are trained without the new model. Its profile is then one more node (`profiles/joining.py`), from its family and N random probes,
and nothing is trained again. "Shifted" moves every forecast by what the probes are off, as the plain rival does: a router's level
is learnt from models that are not the new one.

Every way forecasts the second half, which nothing saw: squared error, error of the mean score, and the gain of a pool by the
new model, score less cost / value, (a) beside known models forecast by ridge on their columns, the same for all ways,
with ridge on the new one's whole column as full data; (b) beside known models forecast by the same router, with that router
trained on the new one too as full data. Pools are three of the other models, and all of them.

Interrupted, the same command goes on after the last seed it finished.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from routewright.encoders import build_encoder
from routewright.outcomes import Outcomes, folds, load
from routewright.outcomes.table import beside
from routewright.profiles.abilities import fit_abilities, prior
from routewright.profiles.design import Design, choose_probes
from routewright.profiles.joining import Joining
from routewright.profiles.vectors import Graph, RouteProfile
from routewright.scorers import build_scorer
from routewright.scorers.graphrouter import GraphRouter
from routewright.scorers.linear import decompose, ridge
from routewright.scorers.pairs import Kind, fit, forecast
from routewright.scorers.profiled import Space
from routewright.types import Floats

sys.path.insert(0, str(Path(__file__).parents[1] / "onboard"))

from measure import DIMENSIONS, PROBES, World, prices, probes_of, rivals

PROFILES = (
    RouteProfile(form="flat", representation="index", depth=0),
    RouteProfile(depth=2),
    RouteProfile(depth=2, learning="masked"),
)
ROUTERS: tuple[Kind, ...] = ("mlp", "graph")
DESIGNS: tuple[Design, ...] = ("random", "adaptive")  # of abilities' probes
WIDTH, POOL = 16, 3
Told = tuple[str, int, Floats, Floats | None]  # way, probes, [later] forecast, [later, others] of the same router


class Trained:
    """A profile design and its routers, fitted on the models of a table."""

    def __init__(self, config: RouteProfile, table: Outcomes, z: Floats, seed: int) -> None:
        self.table, self.z = table, z
        self.joining = Joining(config, Graph(table), z, seed)
        self.usual = table.quality.mean(axis=1)
        self.fitted = {r: fit(r, z, self.joining.profiles, table.quality, seed) for r in ROUTERS}

    def known(self, router: Kind, z: Floats) -> Floats:
        """[Q, M] of the models it was fitted on."""
        return forecast(router, self.fitted[router], z, self.joining.profiles)

    def new(self, router: Kind, name: str, probed: Any, quality: Floats, z: Floats) -> Floats:
        """[Q] of one more model."""
        p = dict(self.fitted[router])
        profile = self.joining.profile(name, probed, quality, self.usual)
        if router == "graph":  # what its recorded edges send, as for the known ones
            ends = np.column_stack([self.z[probed], np.ones(len(probed))])
            p["u"] = ends.T @ (quality - p["o"])[:, None] / max(1, len(probed))
        return forecast(router, p, z, profile)[:, 0]


def moved(said: Floats, at_probes: Floats, quality: Floats) -> Floats:
    """Shifted by what the probes are off, drawn to nothing by two probes' worth."""
    n = len(quality)
    return said + ((quality - at_probes).mean() * n / (n + 2) if n else 0.0)


def one_seed(whole: Outcomes, cards: dict[str, tuple[float, float]], seed: int, models: int) -> list[dict[str, Any]]:
    """Every model (or the first so many) as the new one."""
    fold = folds(whole.groups, whole.strata, 2, seed)
    table, later = whole.take(np.flatnonzero(fold == 0)), whole.take(np.flatnonzero(fold == 1))
    encoder = build_encoder("hashing", {})
    texts = [q.text for q in table.queries]
    encoder.fit(texts)
    coded, later_coded = encoder.encode(texts), encoder.encode([q.text for q in later.queries])
    x, y = coded.astype(np.float64), later_coded.astype(np.float64)
    space = Space.fit(x, WIDTH)
    z, z_later = space.rows(x), space.rows(y)
    parts = decompose(x)
    true = ridge(parts, table.quality, each=True)(y)  # [later, M]
    whole_of = {c.name: Trained(c, table, z, seed) for c in PROFILES}
    full: dict[tuple[str, str], Floats] = {(c, r): t.known(r, z_later) for c, t in whole_of.items() for r in ROUTERS}
    full["graphrouter", ""] = _graphrouter(table, coded, seed).forecast(later.queries, later_coded).quality
    usual = table.cost_usd.mean(axis=0)
    tokens = [float(np.nanmean(t)) if np.isfinite(t).any() else 0.0 for t in (table.tokens_in, table.tokens_out)]
    rng = np.random.default_rng(1000 + seed)
    judged = rng.random(len(table)) < 0.3  # never probed, as in onboard
    rows = []
    for m, name in enumerate(table.models[:models] if models else table.models):
        began = time.process_time()
        others = [i for i in range(len(table.models)) if i != m]
        known = table.with_models([table.models[i] for i in others])
        truth, cost = table.quality[:, m], table.cost_usd[:, m]
        price = cards.get(name)
        card = float(usual[m] if price is None else (tokens[0] * price[0] + tokens[1] * price[1]) / 1e6)
        at = fit_abilities(known.quality, DIMENSIONS)
        order = choose_probes(at, prior(at), ~judged, max(PROBES), "random", np.random.default_rng(seed))
        told: list[Told] = []
        columns: list[tuple[str, int, Floats]] = []
        for design in DESIGNS:
            for n, new in probes_of(known, at, ~judged, truth, cost, card, design, seed).items():
                columns.append((f"abilities, {design}", n, new.quality))
        columns += [(way, n, quality) for way, n, quality, _, _ in rivals(known, truth, order)]
        columns.append(("ridge, whole column", -1, truth))
        guess = ridge(parts, np.column_stack([c[2] for c in columns]), each=True)(y)
        told += [(way, n, guess[:, i], None) for i, (way, n, _) in enumerate(columns)]
        for config in PROFILES:
            trained = Trained(config, known, z, seed)
            for router in ROUTERS:
                label, mine = f"{config.name}: {router}", trained.known(router, z_later)
                for n in PROBES:
                    probed = order[:n]
                    score = truth[probed]
                    said = trained.new(router, name, probed, score, np.vstack([z_later, z[probed]]))
                    ahead, behind = said[: len(later)], said[len(later) :]
                    told.append((label, n, ahead, mine))
                    told.append((f"{label}, shifted", n, moved(ahead, behind, score), mine))
                told.append((label, -1, full[config.name, router][:, m], mine))
        scorer = _graphrouter(known, coded, seed)
        mine = scorer.forecast(later.queries, later_coded).quality
        for n in PROBES[1:]:  # its card has a mean score, so it needs one
            probed = order[:n]
            told.append(("graphrouter", n, scorer.newcomer(x[probed], truth[probed], cost[probed], y), mine))
        told.append(("graphrouter", -1, full["graphrouter", ""][:, m], mine))
        pools = [[int(i) for i in np.random.default_rng((seed, m)).choice(others, POOL, replace=False)], others]
        rows += judge(later, table, true, others, pools, m, told, order, cost, card, seed)
        print(f"  {table.name} {seed} {name}: {time.process_time() - began:.1f} CPU s", flush=True)
    return rows


def _graphrouter(table: Outcomes, coded: Any, seed: int) -> GraphRouter:
    scorer = build_scorer("graphrouter", seed=seed)
    assert isinstance(scorer, GraphRouter)
    scorer.fit(table, coded)
    return scorer


def judge(
    later: Outcomes,
    table: Outcomes,
    true: Floats,
    others: list[int],
    pools: list[list[int]],
    m: int,
    told: list[Told],
    order: Any,
    cost: Floats,
    card: float,
    seed: int,
) -> list[dict[str, Any]]:
    """What every forecast of model m is worth on later queries."""
    usual = table.cost_usd.mean(axis=0)
    y = later.quality[:, m]
    ridged = [World.of(table, later, true, m, pool) for pool in pools]
    place = {i: at for at, i in enumerate(others)}
    owned: dict[str, list[World]] = {}
    rows = []
    for way, n, said, mine in told:
        base = way.removesuffix(", shifted")
        paid = float(usual[m]) if n < 0 else float(cost[order[:n]].mean()) if n else card
        own = None
        if mine is not None:
            if base not in owned:
                owned[base] = []
                for pool, world in zip(pools, ridged, strict=True):
                    owned[base].append(
                        World(later, mine[:, [place[i] for i in pool]], usual[pool], pool, m, world.values)
                    )
            own = [world.gain(said, paid) for world in owned[base]]
        p = np.clip(said, 0.01, 0.99)
        rows.append(
            {
                "seed": seed,
                "model": table.models[m],
                "way": way,
                "probes": n,  # -1: the whole column
                "squared": float(((p - y) ** 2).mean()),
                "mean_error": abs(float(p.mean() - y.mean())),
                "gain": [world.gain(said, paid) for world in ridged],  # [pools][trade-offs]
                "full": [world.full for world in ridged],
                "own": own,
            }
        )
    return rows


def main() -> None:
    """One JSON Lines file a table and seed."""
    parser = argparse.ArgumentParser(description="Models that the training of profiles and routers left out.")
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, default=0, help="queries of a table, drawn once; 0: all")
    parser.add_argument("--models", type=int, default=0, help="only the first so many left out, to try it")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    for path in given.tables:
        whole = load(path)
        if given.most and len(whole) > given.most:
            whole = whole.take(np.sort(np.random.default_rng(0).permutation(len(whole))[: given.most]))
        cards = prices(path.parent / "models.yaml")
        for seed in range(given.seeds):
            out = given.out / f"{whole.name}.{seed}.jsonl"
            if out.exists():
                continue
            began = time.process_time()
            rows = one_seed(whole, cards, seed, given.models)
            with beside(out) as part:
                part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            print(f"{out}  {len(rows)} rows, {time.process_time() - began:.0f} CPU seconds", flush=True)


if __name__ == "__main__":
    main()
