"""The Gymnasium face of a recorded world: one episode of the batched face at a time, for learners made elsewhere.

    env = RouteEnv(world, value_usd=(1e-4, 1e-1))
    seen, info = env.reset(seed=0)
    while not ended:
        seen, reward, terminated, truncated, info = env.step(choose(seen, env.action_masks()))
        ended = terminated or truncated

Actions are those of `routewright.policies.observe`: 0 ... M-1 call that model, M answers with the last usable reply, M+1
by vote. Rewards are in units of the value of a right answer, dense in cost:

    r = -charged_usd / value_usd  for a call,    r = quality  for an answer

so an episode's return is utility / value_usd = quality - cost_usd / value_usd. A call that overruns its bound ends the
episode and is given both. Discount with 1: the cost of a call is not worth less for coming later.

An action the mask forbids (a model that was asked, or does not fit the budget; an answer before there is one) changes
nothing and is given -`illegal_penalty`; after `max_illegal` of them the episode is truncated. With `strict` it raises. A
learner that reads `action_masks()`, as MaskablePPO of sb3-contrib does, never meets it.

Not here: the process itself (`batched.py`), and anything that learns.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from routewright.episodes.batched import Batch
from routewright.episodes.recorded import RecordedWorld
from routewright.errors import EpisodeError, MissingExtra
from routewright.types import Bools, Floats, Vectors

if TYPE_CHECKING:
    import gymnasium

    _Env = gymnasium.Env[NDArray[np.float32], np.int64]
else:
    try:
        import gymnasium

        _Env = gymnasium.Env
    except ImportError:  # said when one is made, so that this module can be looked at without the extra
        gymnasium, _Env = None, object

# Least and most of each feature; see `Observation.features`. What lies beyond is cut off.
_PER_MODEL = ((0.0, 1.0),) * 5 + ((0.0, 5.0), (0.0, 10.0), (0.0, 10.0))
_PER_EPISODE = ((0.0, 1.0), (0.0, 100.0), (0.0, 100.0), (-12.0, 12.0))


class RouteEnv(_Env):
    """One episode at a time on a recorded world of Q queries and M models.

    Args:
        world: The recorded answers.
        value_usd: What a right answer is worth, USD per unit of score: one number, or (least, most), drawn log-uniformly
            for every episode.
        budget_usd: The most an episode may spend: likewise.
        vectors: [Q, D] what is known of each query, put after the features; nothing by default.
        illegal_penalty: What a forbidden action costs, units of value.
        max_illegal: Forbidden actions after which the episode is truncated.
        strict: A forbidden action raises.

    Observations are [8 M + 4 + D] float32, `Observation.features()` cut to the bounds of the space. `reset` takes the
    options `row`, `value_usd` and `budget_usd` for an episode that is not drawn. `info` has the number of the query's
    `row`, `value_usd`, `cost_usd` so far and, at the end, `quality` and `chosen` (the model of the answer; -1: none).
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        world: RecordedWorld,
        value_usd: float | tuple[float, float] = (1e-4, 1e-1),
        budget_usd: float | tuple[float, float] = math.inf,
        *,
        vectors: Vectors | None = None,
        illegal_penalty: float = 0.1,
        max_illegal: int = 10,
        strict: bool = False,
    ) -> None:
        if gymnasium is None:
            raise MissingExtra("The Gymnasium face", "gymnasium", "train")
        self.world, self.vectors = world, vectors
        self.values, self.budgets = _range("value_usd", value_usd), _range("budget_usd", budget_usd)
        if math.isinf(self.values[1]):
            raise EpisodeError(f"value_usd must be finite, got {value_usd}.")
        if vectors is not None and (len(vectors) != len(world.outcomes) or not np.isfinite(vectors).all()):
            raise EpisodeError(
                f"vectors has {len(vectors)} rows for {len(world.outcomes)} queries. Expected one finite row a query."
            )
        self.illegal_penalty, self.max_illegal, self.strict = illegal_penalty, max_illegal, strict
        m = len(world.models)
        bounds = np.array([*(b for b in _PER_MODEL for _ in range(m)), *_PER_EPISODE], dtype=np.float32)
        low, high = bounds[:, 0], bounds[:, 1]
        if vectors is not None:
            low = np.concatenate([low, vectors.min(axis=0).astype(np.float32)])
            high = np.concatenate([high, vectors.max(axis=0).astype(np.float32)])
        self.observation_space = gymnasium.spaces.Box(low, high, dtype=np.float32)
        self.action_space = gymnasium.spaces.Discrete(m + 2)
        self._batch: Batch | None = None
        self._illegal = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode; see the class for `options`."""
        super().reset(seed=seed)
        given = options or {}
        odd = sorted(given.keys() - {"row", "value_usd", "budget_usd"})
        if odd:
            raise EpisodeError(f"Unknown option {odd[0]!r} of reset. Known: row, value_usd, budget_usd.")
        drawn = int(self.np_random.integers(len(self.world.outcomes)))
        value, budget = self._draw(self.values), self._draw(self.budgets)
        row = int(given.get("row", drawn))
        value = _range("value_usd", given["value_usd"])[0] if "value_usd" in given else value
        budget = _range("budget_usd", given["budget_usd"])[0] if "budget_usd" in given else budget
        self._batch = Batch(self.world, np.array([row]), value, budget)
        self._illegal = 0
        return self._see(self._batch), self._info(self._batch)

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take one action: observation, reward, terminated, truncated, info."""
        batch = self._running()
        if not 0 <= int(action) < len(self.world.models) + 2:
            raise EpisodeError(f"Action {action} does not exist. Expected 0 to {len(self.world.models) + 1}.")
        if not self.strict and not self.action_masks()[int(action)]:
            self._illegal += 1
            truncated = self._illegal >= self.max_illegal
            told = self._see(batch), -self.illegal_penalty, False, truncated, self._info(batch)
            if truncated:
                self._batch = None
            return told
        before = batch.cost_usd[0]
        batch.step(np.array([int(action)]))
        done = bool(batch.done[0])
        reward = (batch.quality[0] if done else 0.0) - (batch.cost_usd[0] - before) / batch.facts.value_usd[0]
        told = self._see(batch), float(reward), done, False, self._info(batch)
        if done:
            self._batch = None
        return told

    def action_masks(self) -> Bools:
        """[M+2] which actions are allowed now, by the name sb3-contrib looks for."""
        mask: Bools = self._running().observation().mask[0]
        return mask

    def _running(self) -> Batch:
        if self._batch is None:
            raise EpisodeError("No episode is running. Expected reset() before the first step and after the last one.")
        return self._batch

    def _draw(self, bounds: tuple[float, float]) -> float:
        """Log-uniform; nothing is drawn where there is one value only."""
        low, high = bounds
        return low if low == high else float(np.exp(self.np_random.uniform(np.log(low), np.log(high))))

    def _see(self, batch: Batch) -> NDArray[np.float32]:
        space = self.observation_space
        assert isinstance(space, gymnasium.spaces.Box)
        seen: Floats = batch.observation().features()[0]
        if self.vectors is not None:
            seen = np.concatenate([seen, self.vectors[batch.rows[0]]])
        cut: NDArray[np.float32] = np.clip(seen.astype(np.float32), space.low, space.high)
        return cut

    def _info(self, batch: Batch) -> dict[str, Any]:
        info = {
            "row": int(batch.rows[0]),
            "value_usd": float(batch.facts.value_usd[0]),
            "cost_usd": float(batch.cost_usd[0]),
            "illegal": self._illegal,
        }
        if batch.done[0]:
            info |= {"quality": float(batch.quality[0]), "chosen": int(batch.chosen[0])}
        return info


def _range(name: str, given: float | tuple[float, float]) -> tuple[float, float]:
    """(least, most), both above 0; a range ends."""
    low, high = (float(g) for g in (given if isinstance(given, tuple | list) else (given, given)))
    if not 0 < low <= high or (low != high and math.isinf(high)):
        raise EpisodeError(
            f"{name} = {given} is no amount to draw. Expected a number above 0, or (least, most) with 0 < least <= most, both "
            "finite."
        )
    return low, high
