"""The journal of a training: its history, its checkpoints, its learning curve; and the watch over what is gained.

Every training has a folder of its own in the one given, named by a digest of its settings and data. Each record is appended
to `history.jsonl`, the state goes to `checkpoint.npz` (whole or not at all), and `curve.svg` is drawn at the end; the same
training, begun again, goes on from its checkpoint. Without a folder nothing is written. No pickle is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from routewright.outcomes.table import beside
from routewright.train.plot import curve
from routewright.train.rollout import Ended
from routewright.types import Floats

Record = dict[str, Any]
Arrays = Mapping[str, NDArray[Any]]
_HISTORY, _CHECKPOINT, _CURVE = "history.jsonl", "checkpoint.npz", "curve.svg"
_SEEN = 12  # trade-offs that the watch looks at


@dataclass(frozen=True)
class Point:
    """Where a training stopped."""

    update: int
    arrays: dict[str, NDArray[Any]]


@dataclass
class Journal:
    """History of one training; `about` says which, and `progress` is called with every record."""

    work: Path | None = None
    about: str = ""
    progress: Callable[[Record], None] | None = None
    history: list[Record] = field(default_factory=list)

    @property
    def key(self) -> str:
        return hashlib.sha256(self.about.encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path | None:
        return None if self.work is None else self.work / self.key

    def resume(self) -> Point | None:
        """The checkpoint of this very training, if there is one; the history is cut to it."""
        if self.folder is None or not (self.folder / _CHECKPOINT).is_file():
            return None
        with np.load(self.folder / _CHECKPOINT, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        if str(arrays.pop("about")) != self.key:
            return None
        update = int(arrays.pop("update"))
        lines = (self.folder / _HISTORY).read_text(encoding="utf-8").splitlines()
        self.history = [json.loads(line) for line in lines][:update]
        return Point(update, arrays)

    def write(self, record: Record, arrays: Arrays) -> None:
        self.history.append(record)
        if self.progress is not None:
            self.progress(record)
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with beside(self.folder / _HISTORY) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in self.history), encoding="utf-8")
        with beside(self.folder / _CHECKPOINT) as temporary, temporary.open("wb") as file:
            np.savez(file, **{**arrays, "about": np.array(self.key), "update": np.array(len(self.history))})  # type: ignore[arg-type]

    def close(self, verdict: Record) -> None:
        """Draw the curve."""
        if self.folder is not None and self.history:
            with beside(self.folder / _CURVE) as temporary:
                temporary.write_text(curve(self.history, verdict), encoding="utf-8")


class Watched(Protocol):
    """What is trained: it goes into arrays, and comes back from them."""

    def arrays(self) -> Mapping[str, NDArray[Any]]: ...

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self: ...


W = TypeVar("W", bound=Watched)


def trades(low: float, high: float) -> Floats:
    """The trade-offs that a watch looks at."""
    return np.asarray(np.geomspace(low, high, _SEEN))


class Watch(Generic[W]):
    """Looks at queries nobody learns from, and keeps the best met there.

    `judged` gives [Q] the return of a candidate on each of them, mean over trade-offs.
    """

    def __init__(self, start: W, judged: Callable[[W], Floats]) -> None:
        self.start, self.judged = start, judged
        self.base = judged(start)
        self.best, self.gained, self.error = start, 0.0, 0.0

    def look(self, candidate: W) -> Record:
        """Paired difference to the start: mean and standard error over queries, units of return."""
        difference = self.judged(candidate) - self.base
        mean, error = float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))
        if mean > self.gained:
            self.best, self.gained, self.error = candidate, mean, error
        return {"held_out": float(self.base.mean()) + mean, "held_out_gain": mean, "held_out_error": error}

    def verdict(self, journal: Journal) -> W:
        """The best, or the start where none beat it by more than its standard error; the curve is drawn."""
        kept = self.gained > self.error
        journal.close({"kept": kept, "gain": self.gained, "error": self.error, "start": float(self.base.mean())})
        return self.best if kept else self.start

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {**self.best.arrays(), "watch.told": np.array([self.gained, self.error])}

    def restore(self, arrays: Arrays) -> None:
        self.best = type(self.start).of(arrays)
        self.gained, self.error = (float(v) for v in arrays["watch.told"])


def collapse(ended: Sequence[Ended]) -> Record:
    """The collapse block of one batch: return, calls per query, the entropy of who is called, and the largest share."""
    asked = np.sum([e.asked for e in ended], axis=0).astype(np.float64)
    share = asked / max(1.0, asked.sum())
    some = share[share > 0]
    return {
        "return": float(np.concatenate([e.gain for e in ended]).mean()),
        "calls": float(np.concatenate([e.calls for e in ended]).mean()),
        "decisions": float(sum((e.calls + 1).sum() for e in ended)),
        "call_entropy_bits": float(-(some * np.log2(some)).sum()),
        "largest_share": float(share.max()),
        "collapsed": bool(share.max() > 0.95),
    }
