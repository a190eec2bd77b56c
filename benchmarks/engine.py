"""What the engine itself costs: CPU per live call beyond the provider's, and steps a second of the batched world."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np

from benchmarks.worlds import bfcl

CALLS, ROUNDS = 2000, 5
EPISODES = 4096


def run() -> dict[str, Any]:
    """CPU microseconds per call, and steps per CPU second, one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return {"live": asyncio.run(_live()), "batched": _batched()}


async def _live() -> dict[str, Any]:
    """One-call episodes on the echo provider against that provider's own call, in turns; the quickest round counts."""
    from routewright.episodes.engine import run as run_episode
    from routewright.policies.base import build_policy
    from routewright.pools.pool import load_pool
    from routewright.pools.providers.base import Ask
    from routewright.types import Query

    query = Query("What is the capital of France, and why is it Paris?")
    out = {}
    for models in (1, 5, 20):
        prices = {"provider": "echo", "usd_per_mtok_in": 1, "usd_per_mtok_out": 2, "output_tokens": 50}
        pool = load_pool({"models": [{"name": f"m{i}", **prices} for i in range(models)]})
        policy = build_policy("single", {"model": "m0"})
        provider = pool.member("m0").endpoint.provider
        ask = Ask("m0", ({"role": "user", "content": query.text},), 50)
        episode, direct = [], []
        for _ in range(ROUNDS):
            began = time.process_time()
            for _ in range(CALLS):
                await run_episode(policy, pool, query, 0.01, 1.0)
            middle = time.process_time()
            for _ in range(CALLS):
                await provider.complete(ask)
            episode.append((middle - began) / CALLS)
            direct.append((time.process_time() - middle) / CALLS)
        out[f"{models} models"] = {
            "engine_cpu_us": 1e6 * min(episode),
            "provider_cpu_us": 1e6 * min(direct),
            "overhead_cpu_us": 1e6 * (min(episode) - min(direct)),
        }
    return out


def _batched() -> dict[str, Any]:
    """Random legal actions on bfcl_v1's answers, 4,096 episodes at once; drawing the actions is counted."""
    from routewright.episodes.batched import Batch
    from routewright.episodes.recorded import world_of

    data, name = bfcl()
    out: dict[str, Any] = {"table": name}
    for models in (4, 11, 41):
        world = world_of(data.with_models(data.models[:models]))
        rng = np.random.default_rng(0)
        steps, began = 0, time.process_time()
        while time.process_time() - began < 5:
            batch = Batch(world, rng.integers(0, len(data), EPISODES), 0.01)
            while not batch.done.all():
                obs = batch.observation()
                actions = np.where(obs.mask, rng.random(obs.mask.shape), -1).argmax(axis=1)
                steps += int((~batch.done).sum())
                batch.step(actions, obs)
        out[f"{models} models"] = {"steps_per_cpu_s": steps / (time.process_time() - began)}
    return out
