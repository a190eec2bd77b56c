"""What became of n queries at P operating points: quality, cost, calls, the model of the answer and the models asked.

A policy of one call needs nothing but the model it picked: quality and cost stand in the table. One of several calls
also keeps what its episodes came to (`Steps`). Not here: making them (`crossfit.py`, `multistep.py`), or what they are
worth (`replay.py`, `judge.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routewright.types import Bools, Floats, Ints

Picks = NDArray[np.int16]
NOBODY = -1  # model of the answer where no model gave one


@dataclass(frozen=True)
class Steps:
    """Episodes of several calls; all arrays [P, n], `asked` [P, n, bytes] with one bit a model (`numpy.packbits`)."""

    quality: NDArray[np.float32]
    cost_usd: NDArray[np.float32]
    asked: NDArray[np.uint8]

    @classmethod
    def of(cls, quality: Floats, cost_usd: Floats, asked: Bools) -> Steps:
        return cls(quality.astype(np.float32), cost_usd.astype(np.float32), np.packbits(asked, axis=-1))

    def at(self, points: slice, columns: Ints | Bools | slice) -> Steps:
        return Steps(
            self.quality[points, columns], self.cost_usd[points, columns], np.asarray(self.asked[points, columns])
        )


@dataclass(frozen=True)
class Course:
    """`answer` [P, n] is the model whose reply became the answer; without `steps` it was the only one asked."""

    answer: Picks
    steps: Steps | None = None

    def quality(self, table: Floats) -> Floats:
        """[P, n] score of each answer; `table` [n, M] is the recorded quality of these queries."""
        return _take(table, self.answer) if self.steps is None else self.steps.quality.astype(np.float64)

    def cost_usd(self, table: Floats) -> Floats:
        """[P, n] what each episode cost, all its calls; `table` [n, M] is the recorded cost of these queries."""
        return _take(table, self.answer) if self.steps is None else self.steps.cost_usd.astype(np.float64)

    def calls(self, models: int) -> Ints:
        """[M] how often each of the `models` was asked, over all points and queries."""
        if self.steps is None:
            return np.bincount(self.answer.ravel(), minlength=models)
        asked = np.unpackbits(self.steps.asked, axis=-1, count=models)
        counted: Ints = asked.reshape(-1, models).sum(axis=0, dtype=np.int64)
        return counted

    def at(self, point: int) -> Course:
        """The same at one of its points."""
        one = slice(point, point + 1)
        return Course(self.answer[one], None if self.steps is None else self.steps.at(one, slice(None)))

    def take(self, columns: Ints | Bools) -> Course:
        """The same for some of its queries."""
        steps = None if self.steps is None else self.steps.at(slice(None), columns)
        return Course(self.answer[:, columns], steps)

    def spelled_out(self, quality: Floats, cost_usd: Floats) -> Course:
        """The same with steps, from the recorded quality and cost [n, M] where one call was all there was."""
        if self.steps is not None:
            return self
        asked = self.answer[..., None] == np.arange(quality.shape[1])
        return Course(self.answer, Steps.of(self.quality(quality), self.cost_usd(cost_usd), asked))


def one_model(model: int, n: int) -> Course:
    """One call to the same model for n queries, at one point."""
    return Course(np.full((1, n), model, dtype=np.int16))


def join(pieces: Sequence[tuple[Ints, Course]], n: int) -> Course:
    """Courses on disjoint rows as one over n queries: all with steps, or none. Rows that no piece covers hold zeros."""
    points = len(pieces[0][1].answer)
    answer = np.zeros((points, n), dtype=np.int16)
    for rows, piece in pieces:
        answer[:, rows] = piece.answer
    first = pieces[0][1].steps
    if first is None:
        return Course(answer)
    steps = Steps(
        np.zeros((points, n), dtype=np.float32),
        np.zeros((points, n), dtype=np.float32),
        np.zeros((points, n, first.asked.shape[-1]), dtype=np.uint8),
    )
    for rows, piece in pieces:
        assert piece.steps is not None
        steps.quality[:, rows] = piece.steps.quality
        steps.cost_usd[:, rows] = piece.steps.cost_usd
        steps.asked[:, rows] = piece.steps.asked
    return Course(answer, steps)


def _take(table: Floats, picks: Picks) -> Floats:
    """[P, n] values of `table` [n, M] at the picks [P, n]."""
    return table[np.arange(len(table))[None], picks]
