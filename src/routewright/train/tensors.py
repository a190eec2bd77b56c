"""What every training with torch needs: one thread, parameters as arrays and back, the masked mixture, the clipped objective."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routewright.errors import MissingExtra

try:
    import torch
except ImportError:  # said when one trains
    torch = None

_ADAM = ("step", "exp_avg", "exp_avg_sq")


@contextmanager
def one_thread(what: str) -> Iterator[None]:
    """These networks are small: threads would only wait for each other. `MissingExtra` without torch."""
    if torch is None:
        raise MissingExtra(what, "torch", "train")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def floats(*arrays: NDArray[Any]) -> tuple[Any, ...]:
    """Arrays as tensors of single precision."""
    return tuple(torch.from_numpy(np.asarray(a, dtype=np.float32)) for a in arrays)


def arrays_of(parts: Mapping[str, Any], optimiser: Any) -> dict[str, NDArray[Any]]:
    """Named parameters, and what Adam keeps of them."""
    found: dict[str, NDArray[Any]] = {}
    for name, part in parts.items():
        found[f"learner.{name}"] = part.detach().numpy().copy()
        for key, value in optimiser.state.get(part, {}).items():
            found[f"learner.{name}.{key}"] = np.asarray(value.numpy().copy())
    return found


def put_back(parts: Mapping[str, Any], optimiser: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Take back what `arrays_of` gave."""
    for name, part in parts.items():
        with torch.no_grad():
            part.copy_(torch.from_numpy(arrays[f"learner.{name}"]))
        kept = {key: f"learner.{name}.{key}" for key in _ADAM}
        if all(at in arrays for at in kept.values()):
            optimiser.state[part] = {key: torch.from_numpy(np.array(arrays[at])) for key, at in kept.items()}


def mixture(scores: Any, mask: Any, explore: float) -> Any:
    """[B, A] the softmax over allowed actions, mixed with `explore` parts of the uniform choice among them."""
    p = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=1)
    allowed = mask.float()
    return (1 - explore) * p + explore * allowed / allowed.sum(dim=1, keepdim=True)


def clipped(p: Any, action: Any, old: Any, gain: Any, clip: float) -> tuple[Any, Any]:
    """The actor's loss of PPO, and the mean entropy in nats.

    loss = - mean min(ratio * gain, clip(ratio, 1 - clip, 1 + clip) * gain)          ratio = p[action] / exp(old)
    """
    ratio = torch.exp(torch.log(p.gather(1, action[:, None])[:, 0]) - old)
    loss = -torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain).mean()
    return loss, -(p * torch.log(p.clamp_min(1e-12))).sum(dim=1).mean()


def descend(optimiser: Any, parts: Mapping[str, Any], loss: Any, most: float = 0.5) -> None:
    """One gradient step, the gradient no longer than `most`."""
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(list(parts.values()), most)
    optimiser.step()


class Critic:
    """What a situation is worth, from where it stands: one hidden layer on [B, G] facts. It is not kept.

    V(s) = tanh(facts W + b) v + level
    """

    def __init__(self, facts: int, hidden: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        start = {
            "inner": 0.3 * torch.randn(facts, hidden, generator=generator, dtype=torch.float32),
            "bias": torch.zeros(hidden),
            "outer": torch.zeros(hidden),
            "level": torch.zeros(1),
        }
        self.parts = {f"critic.{name}": torch.nn.Parameter(value) for name, value in start.items()}

    def __call__(self, facts: Any) -> Any:
        inner, bias, outer, level = self.parts.values()
        return torch.tanh(facts @ inner + bias) @ outer + level
