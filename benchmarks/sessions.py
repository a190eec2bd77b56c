"""What sessions save in conversations: simulated upstreams with prompt caches, the gateway's own code before them.

Everything about the world is made up and said here: 3 models at prices of three usual classes, cached tokens at a tenth;
conversations of 12 turns, each 300 tokens of question and 700 of answer longer than the last; forecasts of quality that
vary from turn to turn around a mean of the model and of the conversation, and are taken for the truth. An upstream charges
cached tokens for whatever prefix of a prompt it was sent or wrote last time. What is compared:

- `alone`: every turn is decided by itself, as without a session;
- `session`: the same requests with a session id;
- `pinned`: the first turn's model for all of a conversation;
- `best`: by exhaustive search over all 3^6 paths of a conversation's first 6 turns, the most that could be had there.

All numbers are means a conversation: USD charged, quality summed over turns, switches, and the aim, value * quality - USD.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from routewright.coordinator import Coordinator
from routewright.gateway.asked import Asked, Routing
from routewright.gateway.job import Serving
from routewright.gateway.keys import Keyring
from routewright.gateway.records import Recorder
from routewright.gateway.service import Service
from routewright.gateway.settings import CoordinatorEntry
from routewright.gateway.setup import Setup
from routewright.policies.base import Forecaster, build_policy
from routewright.pools.bounds import price_usd
from routewright.pools.config import CallSettings
from routewright.pools.pool import Endpoint, Member, Pool
from routewright.pools.providers.base import Ask, Completion, Provider
from routewright.stores.base import build_store
from routewright.types import Forecast, ModelCard, Query, Usage

CARDS = (
    ModelCard("large", 3.0, 15.0, usd_per_mtok_cached=0.3),
    ModelCard("middle", 1.0, 5.0, usd_per_mtok_cached=0.1),
    ModelCard("small", 0.25, 1.25, usd_per_mtok_cached=0.025),
)
MEAN = (0.86, 0.80, 0.70)
TALKS, TURNS, ASKED, SAID = 200, 12, 300, 700
VALUES = (0.03, 0.1, 0.3)  # USD a unit of quality
SEARCHED = 6


class Caching(Provider):
    """An upstream that counts `content` of a message in tokens, and keeps the last prompt of each conversation."""

    kind, summary = "caching", "simulated prompt cache"

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, Any], int] = {}  # (model, first message) -> messages it knows

    async def complete(self, ask: Ask) -> Completion:
        talk = ask.messages[0]["name"]
        sizes = [SAID if m["role"] == "assistant" else ASKED for m in ask.messages]
        cached = sum(sizes[: self.held.get((ask.model, talk), 0)])
        self.held[ask.model, talk] = len(sizes) + 1  # and its reply
        return Completion("fine", Usage(sum(sizes), SAID, cached))


class Oracle:
    """Forecasts that are the truth of the world; costs as without a cache, for the prompt's true length."""

    models = tuple(card.name for card in CARDS)
    encoder = SimpleNamespace(slow=False)

    def __init__(self, quality: np.ndarray[Any, Any]) -> None:
        self.quality = quality

    def forecast(self, queries: Sequence[Query]) -> Forecast:
        talk, turn = (int(n) for n in queries[0].text.split())
        usage = Usage(prompt_tokens(turn), SAID)
        cost = np.array([[price_usd(card, usage) for card in CARDS]])
        quality = self.quality[talk, turn][None]
        return Forecast(self.models, quality, np.zeros_like(quality), cost)


def prompt_tokens(turn: int) -> int:
    return ASKED * (turn + 1) + SAID * turn


def run() -> dict[str, Any]:
    """Measure all ways at all values."""
    rng = np.random.default_rng(0)
    offset = rng.normal(0, 0.05, (TALKS, 1, len(CARDS)))
    quality = np.clip(np.array(MEAN) + offset + rng.normal(0, 0.08, (TALKS, TURNS, len(CARDS))), 0, 1)
    result: dict[str, Any] = {"simulated": True, "conversations": TALKS, "turns": TURNS, "values": {}}
    for value in VALUES:
        rows = {way: asyncio.run(talked(quality, value, way)) for way in ("alone", "session", "pinned")}
        result["values"][str(value)] = {
            **{way: summed(quality, paths, costs, value, TURNS) for way, (paths, costs) in rows.items()},
            f"first_{SEARCHED}_turns": {
                **{way: summed(quality, p, c, value, SEARCHED)["aim_usd"] for way, (p, c) in rows.items()},
                "best": best(quality, value),
            },
        }
    return result


async def talked(quality: np.ndarray[Any, Any], value: float, way: str) -> tuple[Any, Any]:
    """[talks, turns] the model asked, and USD charged, by the gateway's own code."""
    provider = Caching()
    endpoint = Endpoint("up", provider, CallSettings(retries=0))
    pool = Pool({card.name: Member(card, endpoint, card.name) for card in CARDS})
    policy = build_policy("single")
    policy.forecaster = Forecaster(Oracle(quality))
    serving = Serving(Coordinator(policy), CoordinatorEntry(policy="single"))
    setup = Setup(pool, {"auto": serving}, Keyring(), Recorder(), log_requests=False)
    service = Service(setup, build_store("memory"))
    await service.open()
    (key,) = [service.keyring.find("")]
    paths, costs = np.zeros((TALKS, TURNS), dtype=int), np.zeros((TALKS, TURNS))
    for talk in range(TALKS):
        messages: list[dict[str, str]] = []
        model = "auto"
        for turn in range(TURNS):
            messages.append({"role": "user", "content": f"{talk} {turn}", "name": f"t{talk}"})
            routing = Routing(value_usd=value, session=f"s{talk}" if way == "session" else "")
            asked = Asked(model, Query(f"{talk} {turn}", messages=tuple(messages)), routing)
            served = await service.answer(asked, key, f"{talk:016x}{turn:016x}")
            assert served.reply is not None
            paths[talk, turn] = Oracle.models.index(served.reply.model)
            costs[talk, turn] = served.episode.cost_usd
            messages.append({"role": "assistant", "content": "fine"})
            if way == "pinned":
                model = served.reply.model
    await service.aclose()
    return paths, costs


def summed(quality: np.ndarray[Any, Any], paths: Any, costs: Any, value: float, turns: int) -> dict[str, float]:
    """Means a conversation, of its first turns."""
    paths, costs = paths[:, :turns], costs[:, :turns]
    got = np.take_along_axis(quality[:, :turns], paths[:, :, None], axis=2)[:, :, 0].sum(axis=1).mean()
    usd = costs.sum(axis=1).mean()
    switches = (paths[:, 1:] != paths[:, :-1]).sum(axis=1).mean()
    return {
        "usd": round(float(usd), 5),
        "quality": round(float(got), 3),
        "switches": round(float(switches), 2),
        "aim_usd": round(float(value * got - usd), 5),
    }


def best(quality: np.ndarray[Any, Any], value: float) -> float:
    """The aim of the best path in hindsight, mean over conversations."""
    paths = np.array(list(itertools.product(range(len(CARDS)), repeat=SEARCHED)))
    usd = np.zeros(len(paths))
    for i, path in enumerate(paths.tolist()):
        known = dict.fromkeys(range(len(CARDS)), 0)
        for turn, m in enumerate(path):
            usage = Usage(prompt_tokens(turn), SAID, known[m])
            usd[i] += price_usd(CARDS[m], usage)
            known[m] = prompt_tokens(turn) + SAID
    got = quality[:, np.arange(SEARCHED)[None], paths].sum(axis=2)  # [talks, paths]
    return round(float((value * got - usd).max(axis=1).mean()), 5)
