"""Rewards made comparable between tasks: a hard task's must not drown an easy one's, nor the other way round.

    r'[n] = (r[n] - mean of its task) / (deviation within its task + eps)

Not a reward of an episode: it needs a batch of them, and is called by a trainer after the rewards and before advantages.
GRPO's own groups, rollouts of one question, make a finer correction of the mean; this one is for batches without groups,
or where the spread differs between tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routewright.errors import RoutewrightError
from routewright.types import Floats


def per_task(rewards: Floats, tasks: Sequence[str], eps: float = 1e-6) -> Floats:
    """Centre and scale rewards within each task.

    Args:
        rewards: [N], reward units.
        tasks: [N], the task of each.
        eps: Added to the deviation; a task whose rewards are all the same gets zeros.

    Returns:
        [N], without unit; each task's mean is 0.

    Raises:
        RoutewrightError: Not one task a reward, or a reward that is no number.

    Example:
        >>> per_task(np.array([0.0, 1.0, 5.0, 5.0]), ["qa", "qa", "maths", "maths"]).round(3).tolist()
        [-1.0, 1.0, 0.0, 0.0]
    """
    if len(rewards) != len(tasks) or not np.isfinite(rewards).all():
        raise RoutewrightError(
            f"per_task got {len(rewards)} rewards, {int((~np.isfinite(rewards)).sum())} of them no number, and {len(tasks)} tasks. "
            "Expected a finite reward and a task for each episode."
        )
    out = np.zeros(len(rewards))
    names = np.array(tasks)
    for name in dict.fromkeys(tasks):
        at = names == name
        out[at] = (rewards[at] - rewards[at].mean()) / (rewards[at].std() + eps)
    return out
