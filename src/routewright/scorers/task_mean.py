"""`task_mean`: each model's mean on the query's task label.

Reads a label that recorded data has and live traffic mostly lacks, so in a report it is a reference, marked as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routewright.encoders.base import Arrays, Meta
from routewright.outcomes.arrays import Outcomes
from routewright.scorers.base import Scorer
from routewright.types import Floats, Query


class TaskMean(Scorer):
    """quality[q, m] = mean quality of m on the training queries of q's task; the overall mean for a new task."""

    kind: ClassVar[str] = "task_mean"
    summary: ClassVar[str] = "each model's mean on the query's task label (reads a label live traffic lacks)"
    reads_task: ClassVar[bool] = True

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        names, label = np.unique(np.asarray(outcomes.strata), return_inverse=True)
        sums = np.zeros((len(names), len(outcomes.models)))
        np.add.at(sums, label, outcomes.quality)
        self._tasks = {str(name): i for i, name in enumerate(names)}
        self._means = np.vstack([sums / np.bincount(label)[:, None], outcomes.quality.mean(axis=0)])
        self._std = outcomes.quality.std(axis=0)

    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        rows = [self._tasks.get(f"{q.dataset}/{q.task}", len(self._tasks)) for q in queries]
        return self._means[rows], self._std

    def _state(self) -> tuple[Arrays, Meta]:
        return {"means": self._means, "std": self._std}, {"tasks": self._tasks}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        self._means, self._std, self._tasks = arrays["means"], arrays["std"], dict(meta["tasks"])
