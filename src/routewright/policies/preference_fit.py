"""Fitting what the matcher needs beside the routes: six numbers of a confidence, two of the scores, a threshold.

    calibration = fit(matcher.see(conversations), labels, groups, "hashing")

    alpha, gamma   of a grid: most conversations whose best route is right
    w, b           logistic regression of "the best route is right" on the features, L2 penalty 1e-2
    threshold      most conversations right, by confidences of parts that the regression had not seen

Every conversation that has a route is there once more, at a tenth of the weight, with its own route taken out of the file: a
request close to some route and right for none. Labelled sets hold few of those, traffic many. What that buys, and costs, is in
the README of recipes/preference.

None of it depends on which routes there are, so routes can be added without fitting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routewright.config import parse
from routewright.errors import ConfigError
from routewright.policies.preference_eval import Labelled
from routewright.policies.preference_match import Calibration, Matcher, Seen, sigmoid, weigh
from routewright.policies.routes import Routes
from routewright.types import Bools, Floats, Ints

SHIPPED = Path(__file__).with_name("preference_calibration.json")
ALPHAS = (0.2, 0.35, 0.5, 0.65, 0.8)
GAMMAS = (0.4, 0.6, 0.8, 1.0)
NEAR_MISSES = 0.1  # weight of one, beside 1
_PENALTY, _PARTS, _LEAST = 1e-2, 5, 20


def fit(
    seen: Seen, labels: Sequence[int], groups: Sequence[int], encoder: str, near_misses: float = NEAR_MISSES
) -> Calibration:
    """Fit a calibration.

    Args:
        seen: C conversations before R routes.
        labels: [C] number of the right route; -1: other.
        groups: [C] conversations of one number stay together in cross-validation: those with the same phrasing.
        encoder: Kind of the encoder that `seen` came from.
        near_misses: Weight of a conversation without its own route, beside 1.

    Raises:
        ConfigError: Too few conversations, or only routes, or only `other`.
    """
    y = np.asarray(labels, dtype=np.int64)
    inside = y >= 0
    if len(y) < _LEAST or inside.all() or not inside.any():
        raise ConfigError(
            f"A calibration needs {_LEAST} labelled turns, some of them other, got {len(y)} with {int((~inside).sum())} of other. "
            "Label more, or use the calibration that ships."
        )
    alpha, gamma = max(((a, g) for a in ALPHAS for g in GAMMAS), key=lambda ag: _hits(seen, y, *ag))
    scores, features = weigh(seen, alpha, gamma)
    right = scores.argmax(axis=1) == y
    rows, missed = _without_own(seen, y, alpha, gamma)
    x, target = np.vstack([features, missed]), np.concatenate([right, np.zeros(len(rows), dtype=bool)])
    weight = np.concatenate([np.ones(len(y)), np.full(len(rows), near_misses)])
    part = _parts(groups)
    part = np.concatenate([part, part[rows]])
    sure = np.zeros(len(x))
    for one in range(_PARTS):
        held = part == one
        if held.any():
            sure[held] = _apply(logistic(x[~held], target[~held], weight[~held]), x[held])
    belongs = np.concatenate([~inside, np.ones(len(rows), dtype=bool)])
    threshold = _threshold(sure, target, belongs, weight)
    found = logistic(x, target, weight)
    own = sure[: len(y)]
    return Calibration(
        encoder=encoder,
        alpha=alpha,
        gamma=gamma,
        weights=tuple(round(float(v), 4) for v in found[:-1]),
        bias=round(float(found[-1]), 4),
        threshold=round(threshold, 3),
        about={
            "turns": len(y),
            "routes": int(seen.described.shape[2]),
            "cross_validated_accuracy": round(float(np.where(own >= threshold, right, ~inside).mean()), 4),
            "cross_validated_near_misses_to_other": round(float((sure[len(y) :] < threshold).mean()), 4),
            "cross_validated_calibration_error": round(calibration_error(own, right), 4),
        },
    )


def fit_on(
    routes: Routes, conversations: Sequence[Labelled], encoder: str, near_misses: float = NEAR_MISSES
) -> Calibration:
    """Fit a calibration on labelled conversations; turns made from one phrase stay together in cross-validation."""
    turns = [turn for one in conversations for turn in one.asked()]
    labels = [label for one in conversations for label in one.routes]
    names = [phrase for one in conversations for phrase in one.phrases or (one.name,) * len(one.routes)]
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    at = {name: i for i, name in enumerate(routes.names)}
    seen = Matcher(routes, encoder).see(turns)
    return fit(seen, [at.get(label, -1) for label in labels], [number[name] for name in names], encoder, near_misses)


def calibration_of(given: str | Mapping[str, Any], encoder: str) -> Calibration:
    """The calibration named, or the one that ships for an encoder.

    Raises:
        ConfigError: It can not be read, is of another encoder, or none ships.
    """
    if given:
        values, where = (given, "the option calibration") if isinstance(given, Mapping) else (_read(Path(given)), given)
        made = parse(Calibration, values, where)
        if made.encoder != encoder:
            raise ConfigError(f"{where} was fitted with encoder {made.encoder!r}, expected {encoder!r}. Fit it again.")
        return made
    shipped = _read(SHIPPED)
    if encoder not in shipped:
        raise ConfigError(
            f"No calibration ships for encoder {encoder!r}; there is one for {', '.join(shipped)}. Fit one: routewright routes "
            f"fit FILE LABELLED --encoder {encoder}."
        )
    return parse(Calibration, shipped[encoder], str(SHIPPED))


def logistic(x: Floats, y: Bools, weight: Floats) -> Floats:
    """[F + 1] weights and bias of a weighted logistic regression, by Newton's method; an L2 penalty on the weights."""
    a = np.hstack([x, np.ones((len(x), 1))])
    penalty = np.diag([_PENALTY] * x.shape[1] + [1e-6])
    w = np.zeros(a.shape[1])
    for _ in range(50):
        p = sigmoid(a @ w)
        slope = a.T @ (weight * (p - y)) + penalty @ w
        curve = (a * (weight * np.maximum(p * (1 - p), 1e-9))[:, None]).T @ a + penalty
        step = np.linalg.solve(curve, slope)
        w -= step / max(1.0, float(np.abs(step).max()) / 5)  # never far at once
        if np.abs(step).max() < 1e-7:
            break
    return w


def calibration_error(sure: Floats, right: Bools, bins: int = 10) -> float:
    """Expected calibration error: |share right - mean confidence| over ten bins of equal width, by their size."""
    at = np.minimum((sure * bins).astype(int), bins - 1)
    total = 0.0
    for one in np.unique(at):
        inside = at == one
        total += inside.mean() * abs(float(right[inside].mean()) - float(sure[inside].mean()))
    return float(total)


def _hits(seen: Seen, y: Ints, alpha: float, gamma: float) -> float:
    scores, _ = weigh(seen, alpha, gamma)
    return float((scores.argmax(axis=1) == y).mean())


def _without_own(seen: Seen, y: Ints, alpha: float, gamma: float) -> tuple[Ints, Floats]:
    """Numbers of the conversations that have a route, and their features with that route not in the file."""
    rows = np.flatnonzero(y >= 0)
    if seen.described.shape[2] < 3:  # with two routes what is left is no choice
        return rows[:0], np.zeros((0, 6))
    described, exemplified = seen.described[rows].copy(), seen.exemplified[rows].copy()
    at = np.arange(len(rows))
    described[at, :, y[rows]] = exemplified[at, :, y[rows]] = -1.0
    part = Seen(described, exemplified, seen.full[rows], seen.known[rows], seen.outside[rows])
    return rows, weigh(part, alpha, gamma)[1]


def _threshold(sure: Floats, right: Bools, outside: Bools, weight: Floats) -> float:
    """The least confidence at which most are right, the middle of the best stretch."""
    grid = np.linspace(0.05, 0.95, 91)
    shares = np.array([(weight * np.where(sure >= t, right, outside)).sum() for t in grid])
    best = np.flatnonzero(shares >= shares.max() - 1e-9)
    return float(grid[best[len(best) // 2]])


def _apply(w: Floats, x: Floats) -> Floats:
    return sigmoid(x @ w[:-1] + w[-1])


def _parts(groups: Sequence[int]) -> Ints:
    """[C] the part of each, groups dealt out evenly by a fixed shuffle."""
    names, which = np.unique(np.asarray(groups), return_inverse=True)
    dealt = np.random.default_rng(0).permutation(len(names)) % _PARTS
    found: Ints = dealt[which].astype(np.int64)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path} can not be read ({error.strerror}). Expected a file of routewright routes fit."
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON ({error}). Expected a file of routewright routes fit.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no JSON object. Expected a file of routewright routes fit.")
    return values
