"""`cheapest`: always the model with the lowest mean cost in training."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from routewright.outcomes.arrays import Outcomes
from routewright.scorers.base import NoOptions
from routewright.scorers.fixed import Fixed


class Cheapest(Fixed):
    """`fixed` on the cheapest model; of equally cheap ones the better."""

    Config = NoOptions
    kind: ClassVar[str] = "cheapest"
    summary: ClassVar[str] = "always the model with the lowest mean cost (control)"

    def _which(self, outcomes: Outcomes) -> int:
        return int(np.lexsort((-self._mean, outcomes.cost_usd.mean(axis=0)))[0])
