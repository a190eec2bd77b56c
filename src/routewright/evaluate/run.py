"""Running an evaluation: fits in parallel, saved as they finish, resumed where they stopped.

Each fit (one table, one seed, one set of folds left out; all policies) is one file in the output's `work` folder, keyed
by the content of the table, the policy's settings and the code that fits; what is there is not computed again.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import multiprocessing
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routewright import __version__
from routewright.encoders import build_encoder
from routewright.encoders.cache import vectors_of
from routewright.errors import TableError, UnknownName
from routewright.evaluate.course import Course, Steps
from routewright.evaluate.crossfit import Chosen, Job, Unit, fit_job, jobs_of
from routewright.evaluate.judge import TableResult, judge
from routewright.evaluate.multistep import check_part, not_recorded
from routewright.evaluate.replay import replay, single_models
from routewright.evaluate.settings import Part, Settings
from routewright.outcomes import Outcomes
from routewright.outcomes.table import beside

Progress = Callable[[int, int, str], None]  # done, of, what
_DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError)
_STEPS = ("quality", "cost_usd", "asked")  # arrays of a fit of several calls
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


def check(units: Sequence[Unit], settings: Settings) -> None:
    """Refuse what can not be run before anything long starts."""
    for part in settings.all_parts:
        check_part(part)
    build_encoder(settings.encoder.kind, settings.encoder.options)
    labels = [p.label for p in settings.all_parts]
    if settings.compared not in labels:
        raise UnknownName("policy of this evaluation", settings.compared, labels)
    missing = [not_recorded(settings, unit.tables) for unit in units]
    if missing and all(p.label in gone for p in settings.policies for gone in missing):
        first = settings.policies[0].label
        raise TableError(
            f"None of the policies asked for can be judged on recorded answers; {first}: {missing[0][first]} "
            f"({units[0].name}). Expected at least one that can; add routewright, or give tables with responses."
        )
    for unit in units:
        if len(unit.train.models) < 2:
            raise TableError(
                f"{unit.name} has outcomes of {len(unit.train.models)} model; routing needs at least 2. Name more --models."
            )
        groups = len(np.unique(unit.train.groups))
        if groups < 4 * settings.folds:
            raise TableError(
                f"{unit.name} has {groups} different queries; cross-fitting in {settings.folds} folds needs at least "
                f"{4 * settings.folds}. Use a larger table or fewer --folds."
            )
        if unit.test is not None and not len(unit.test):
            raise TableError(
                f"{unit.name}: no test query is left after dropping those seen in training. Give a --test table with "
                "other queries, or leave --test out to cross-fit."
            )


def evaluate(
    units: Sequence[Unit], settings: Settings, work: Path | None = None, progress: Progress | None = None
) -> list[TableResult]:
    """Cross-fit, replay and judge every policy on every table.

    Args:
        units: The tables.
        settings: Policies, seeds, statistics.
        work: Folder for finished fits, so that an interrupted run resumes; nothing is kept without it.
        progress: Called as fits finish.
    """
    check(units, settings)
    missing = [not_recorded(settings, unit.tables) for unit in units]
    parts = [[p for p in settings.all_parts if p.label not in gone] for gone in missing]
    jobs = [job for i, unit in enumerate(units) for s in range(settings.seeds) for job in jobs_of(i, unit, settings, s)]
    done = _fit_all(units, settings, parts, jobs, work, progress)
    results = []
    for i, unit in enumerate(units):
        references = [single_models(unit, settings, s) for s in range(settings.seeds)]
        replays = {
            part.label: [
                replay(unit, settings, s, {j: done[j][part.label] for j in jobs if j.unit == i and j.seed == s}, i)
                for s in range(settings.seeds)
            ]
            for part in parts[i]
        }
        results.append(judge(unit, settings, references, replays, i, missing[i]))
    return results


def _fit_all(
    units: Sequence[Unit],
    settings: Settings,
    parts: Sequence[Sequence[Part]],
    jobs: Sequence[Job],
    work: Path | None,
    progress: Progress | None,
) -> dict[Job, dict[str, Chosen]]:
    store = _Store(work, units, settings)
    done: dict[Job, dict[str, Chosen]] = {}
    todo: list[tuple[Job, list[Part]]] = []
    for job in jobs:
        done[job] = store.read(job, parts[job.unit])
        missing = [p for p in parts[job.unit] if p.label not in done[job]]
        if missing:
            todo.append((job, missing))
    total = sum(len(missing) for _, missing in todo)
    finished = 0

    def take(job: Job, result: Mapping[str, Chosen]) -> None:
        nonlocal finished
        done[job].update(result)
        store.write(job, result)
        finished += len(result)
        if progress is not None:
            progress(finished, total, units[job.unit].name)

    if todo:
        _encode_once(units, settings)
    workers = settings.jobs or os.cpu_count() or 1
    if workers == 1 or len(todo) <= 1:
        for job, missing in todo:
            take(job, fit_job(units[job.unit], job, settings, missing))
        return done
    _in_workers(units, settings, todo, min(workers, len(todo)), take)
    return done


def _encode_once(units: Sequence[Unit], settings: Settings) -> None:
    """Fill the cache of vectors before workers start, lest each of them encode the same texts."""
    encoder = build_encoder(settings.encoder.kind, settings.encoder.options)
    for part in (encoder, *encoder.parts()):
        for table in (t for unit in units if part.fixed for t in (unit.train, unit.judged)):
            vectors_of(part, [q.text for q in table.queries])


def _in_workers(
    units: Sequence[Unit],
    settings: Settings,
    todo: Sequence[tuple[Job, list[Part]]],
    workers: int,
    take: Callable[[Job, Mapping[str, Chosen]], None],
) -> None:
    """One thread a worker: two pools of BLAS threads on one machine only wait for each other."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker, (list(units), settings))
    try:
        # The largest fits first, so that no worker is left alone with one at the end.
        order = sorted(todo, key=lambda item: -len(units[item[0].unit].train) * len(item[1]))
        pending = {pool.submit(_work, job, missing): job for job, missing in order}
        for future in concurrent.futures.as_completed(pending):
            take(pending[future], future.result())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@dataclass
class _Held:
    """What a worker process was given once, at its start."""

    units: list[Unit]
    settings: Settings


_held: _Held | None = None


def _start_worker(units: list[Unit], settings: Settings) -> None:
    global _held
    _held = _Held(units, settings)


def _work(job: Job, parts: list[Part]) -> Mapping[str, Chosen]:
    assert _held is not None
    return fit_job(_held.units[job.unit], job, _held.settings, parts)


class _Store:
    """Finished fits as .npz files, written beside and renamed."""

    def __init__(self, folder: Path | None, units: Sequence[Unit], settings: Settings) -> None:
        self.folder = folder
        self._parts = {p.label: p for p in settings.all_parts}
        if folder is not None:
            self._tables = ["".join(_content(t) for t in u.tables) for u in units]
            self._keys = ["".join(_content_of_keys(t) for t in u.tables) for u in units]
            self._shared = json.dumps([_code(), settings.encoder.model_dump(mode="json"), settings.folds])
            self._several = _code_of_episodes() if any(p.several for p in settings.all_parts) else ""

    def _path(self, folder: Path, job: Job, part: Part) -> Path:
        what: list[object] = [part.kind, part.options, job.seed, job.held]
        if part.several:
            what += [part.scorer, self._keys[job.unit], self._several]
        key = json.dumps([self._tables[job.unit], self._shared, *what], sort_keys=True)
        return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"

    def read(self, job: Job, parts: Sequence[Part]) -> dict[str, Chosen]:
        found: dict[str, Chosen] = {}
        if self.folder is None:
            return found
        for part in parts:
            path = self._path(self.folder, job, part)
            if not path.exists():
                continue
            # A damaged file is as good as none: the fit is made again.
            with contextlib.suppress(*_DAMAGED), np.load(path, allow_pickle=False) as a:
                steps = Steps(*(a[f"steps.{name}"] for name in _STEPS)) if part.several else None
                found[part.label] = Chosen(
                    a["rows"],
                    bool(a["on_test"]),
                    Course(a["picks"], steps),
                    a["gap"],
                    float(a["cost"]),
                    float(a["quality"]),
                    a["told"],
                )
        return found

    def write(self, job: Job, result: Mapping[str, Chosen]) -> None:
        if self.folder is None:
            return
        for label, c in result.items():
            steps = {} if c.course.steps is None else {f"steps.{k}": getattr(c.course.steps, k) for k in _STEPS}
            with beside(self._path(self.folder, job, self._parts[label])) as temporary, temporary.open("wb") as file:
                np.savez_compressed(
                    file,
                    rows=c.rows,
                    on_test=c.on_test_table,
                    picks=c.course.answer,
                    gap=c.gap,
                    cost=c.cost_log_error,
                    quality=c.quality_error,
                    told=c.told,
                    **steps,
                )


def _code() -> str:
    """A hash of the code that a fit's result depends on: after a change of it, finished fits are made again."""
    return _hash_of(
        "encoders/*.py",
        "scorers/*.py",
        "outcomes/*.py",
        "evaluate/crossfit.py",
        "evaluate/calibration.py",
        "evaluate/settings.py",
    )


def _code_of_episodes() -> str:
    """The same for the code that only policies of several calls depend on."""
    return _hash_of(
        "policies/*.py", "train/*.py", "episodes/*.py", "tasks/**/*.py", "evaluate/course.py", "evaluate/multistep.py"
    )


def _hash_of(*patterns: str) -> str:
    package = Path(__file__).resolve().parents[1]
    h = hashlib.sha256(__version__.encode())
    for pattern in patterns:
        for path in sorted(package.glob(pattern)):
            h.update(path.read_bytes())
    return h.hexdigest()


def _content(outcomes: Outcomes) -> str:
    """A hash of everything a fit can see of a table."""
    h = hashlib.sha256()
    for part in ("\n".join(outcomes.models), "\0".join(f"{q.text}\1{q.task}\1{q.dataset}" for q in outcomes.queries)):
        h.update(part.encode("utf-8", "replace"))
    for array in (outcomes.quality, outcomes.cost_usd, outcomes.latency_s):
        h.update(np.ascontiguousarray(array).tobytes())
    return h.hexdigest()


def _content_of_keys(outcomes: Outcomes) -> str:
    """A hash of who says the same as whom."""
    return "" if outcomes.keys is None else hashlib.sha256(np.ascontiguousarray(outcomes.keys).tobytes()).hexdigest()
