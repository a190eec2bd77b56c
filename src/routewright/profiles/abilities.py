"""What the answers of many models say about queries, and what a few answers of one more model say about that model.

    P(model m is right on query q) = sigmoid( b[q] + a[q] . theta[m] )         theta[m] ~ N(0, I), K dimensions

b [Q] is how easy a query is, a [Q, K] what it depends on, theta [M, K] the abilities of a model. The last ability is no
model's but the new one's: its load is 1 on every query and its prior N(0, OWN^2), for how far a model is off from what
its other abilities say; without it two hundred probes could not correct a mean that the others foretell wrongly. Both sides are fitted by
turns to the known models' scores, with Gaussian priors

    (b[q], a[q]) ~ N( their mean over queries, diag(SPREAD_B^2, SPREAD_A^2 ...) ),   a's mean starts at (1, 0, ...)

by steps of the quadratic upper bound of the logistic loss (curvature 1/4 everywhere), which can not diverge. Then the
queries' side is held, and a new model is a logistic regression in K unknowns with a known prior: by Laplace's
approximation its posterior is N(theta, cov).

The prior of a new model is what its price says: theta regressed on the logarithm of the mean cost of a call over the known
models, with the residuals' covariance. Scores between 0 and 1 count as fractions of a right answer.

Not here: which queries to probe (`design.py`), what a forecast is worth (`newcomer.py`). Called by both.

Reference: Birnbaum's two-parameter model in K dimensions (Reckase 2009); the bound is Boehning & Lindsay 1988.
Differs: item parameters are point estimates; what that hides is put back by calibration on the known models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit as sigmoid

from routewright.errors import RoutewrightError
from routewright.types import Floats, Ints

SPREAD_B = 2.0  # of how easy queries are, logits
SPREAD_A = 1.0  # of what they depend on
OWN = 0.4  # of a new model's own offset, logits
_TURNS = 60
_STEPS = 4  # of the bound on each side a turn
_NEWTON = 40
_FLOOR = 1e-4  # curvature of a query that is certain


@dataclass(frozen=True)
class Abilities:
    """Fitted queries, and the abilities of the models they were fitted on."""

    easy: Floats  # [Q] b
    loads: Floats  # [Q, K + 1] a, and ones
    theta: Floats  # [M, K + 1], mean 0 and covariance I over the models; the last column 0

    def take(self, rows: Ints) -> Abilities:
        """The same for some of the queries."""
        return Abilities(self.easy[rows], self.loads[rows], self.theta)


@dataclass(frozen=True)
class Belief:
    """What is believed of one model's abilities: N(theta, cov)."""

    theta: Floats  # [K + 1]
    cov: Floats  # [K + 1, K + 1]

    def quality(self, at: Abilities) -> Floats:
        """[Q] probability of a right answer, the uncertainty of theta averaged over (MacKay's approximation)."""
        spread = np.einsum("qi,ij,qj->q", at.loads, self.cov, at.loads)
        out: Floats = sigmoid((at.easy + at.loads @ self.theta) / np.sqrt(1 + np.pi / 8 * spread))
        return out

    def draw(self, at: Abilities, n: int, rng: np.random.Generator) -> Floats:
        """[n, Q] probabilities of a right answer for draws of theta."""
        theta = rng.multivariate_normal(self.theta, self.cov, n, method="eigh")
        out: Floats = sigmoid(at.easy + theta @ at.loads.T)
        return out


def fit_abilities(quality: Floats, dimensions: int = 2) -> Abilities:
    """Fit queries and models by turns.

    Args:
        quality: [Q, M] scores in [0, 1] of M known models.
        dimensions: K; no more than M - 1 are used.
    """
    n_queries, n_models = quality.shape
    if n_models < 2 or n_queries < 2:
        raise RoutewrightError(
            f"Abilities need at least 2 queries and 2 known models, got {n_queries} x {n_models}. Add models to the table."
        )
    k = max(1, min(dimensions, n_models - 1))
    centred = quality - quality.mean(axis=1, keepdims=True)
    _, _, right = np.linalg.svd(centred, full_matrices=False)
    theta = right[:k].T * np.sqrt(n_models)
    mean = quality.mean(axis=0)
    theta[:, 0] *= np.sign(theta[:, 0] @ (mean - mean.mean())) or 1.0  # the first ability is to be right
    easy_mean = np.clip(quality.mean(axis=1), 0.03, 0.97)
    queries = np.zeros((n_queries, k + 1))
    queries[:, 0] = np.log(easy_mean / (1 - easy_mean))
    usual = np.eye(k + 1)[min(1, k)]
    precision = np.diag(np.r_[1 / SPREAD_B**2, np.full(k, 1 / SPREAD_A**2)])
    for _ in range(_TURNS):
        design = np.hstack([np.ones((n_models, 1)), theta])
        inverse = np.linalg.inv(design.T @ design / 4 + precision)
        for _ in range(_STEPS):
            slope = (quality - sigmoid(queries @ design.T)) @ design - (queries - usual) @ precision
            queries += slope @ inverse
        usual = queries.mean(axis=0)
        loads = queries[:, 1:]
        inverse = np.linalg.inv(loads.T @ loads / 4 + np.eye(k))
        for _ in range(_STEPS):
            slope = (quality.T - sigmoid(queries[:, 0] + theta @ loads.T)) @ loads - theta
            theta += slope @ inverse
    return _standard(queries, theta)


def _standard(queries: Floats, theta: Floats) -> Abilities:
    """The same model with theta of mean 0 and covariance I over the models."""
    mean = theta.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(theta.T, bias=True).reshape(theta.shape[1], -1))
    root = vectors * np.sqrt(np.maximum(values, 1e-9))
    loads = queries[:, 1:]
    whitened = (theta - mean) @ vectors / np.sqrt(np.maximum(values, 1e-9))
    return Abilities(
        queries[:, 0] + loads @ mean,
        np.hstack([loads @ root, np.ones((len(loads), 1))]),
        np.hstack([whitened, np.zeros((len(theta), 1))]),
    )


def prior(known: Abilities, cost_usd: Floats | None = None, new_usd: float | None = None) -> Belief:
    """What is believed of a new model before any probe.

        theta = u + v log10(cost)        least squares over the known models; cov: of the residuals

    Args:
        known: The fitted abilities.
        cost_usd: [M] mean cost of a call of each known model, USD; None: nothing is known of prices.
        new_usd: The new model's.
    """
    k = known.theta.shape[1]
    own = np.zeros((k, k))
    own[-1, -1] = OWN**2
    if cost_usd is None or new_usd is None or not new_usd > 0 or len(cost_usd) < 4 or not (cost_usd > 0).all():
        return Belief(np.zeros(k), np.diag(np.r_[np.ones(k - 1), OWN**2]))
    x = np.column_stack([np.ones(len(cost_usd)), np.log10(cost_usd)])
    weights, *_ = np.linalg.lstsq(x, known.theta, rcond=None)
    rest = known.theta - x @ weights
    cov = rest.T @ rest / max(1, len(x) - 2)
    at = np.array([1.0, np.log10(new_usd)])
    unsure = float(at @ np.linalg.pinv(x.T @ x) @ at)  # of the line itself
    return Belief(at @ weights, cov * (1 + unsure) + own + 1e-6 * np.eye(k))


def update(belief: Belief, at: Abilities, score: Floats) -> Belief:
    """The belief after probes: Newton's method with halved steps, then Laplace's approximation.

    Args:
        belief: Before them.
        at: The probed queries' side, [N].
        score: [N] what the model scored on them.
    """
    if not len(score):
        return belief
    precision = np.linalg.inv(belief.cov)

    def loss(theta: Floats) -> float:
        logit = at.easy + at.loads @ theta
        gap = theta - belief.theta
        return float((np.logaddexp(0.0, logit) - score * logit).sum() + gap @ precision @ gap / 2)

    theta, now = belief.theta.copy(), loss(belief.theta)
    for _ in range(_NEWTON):
        p = sigmoid(at.easy + at.loads @ theta)
        slope = at.loads.T @ (p - score) + precision @ (theta - belief.theta)
        step = np.linalg.solve(_curvature(at.loads, p) + precision, slope)
        while (then := loss(theta - step)) > now and np.abs(step).max() > 1e-9:
            step = step / 2
        theta, gained, now = theta - step, now - then, then
        if gained < 1e-9:
            break
    p = sigmoid(at.easy + at.loads @ theta)
    return Belief(theta, np.linalg.inv(_curvature(at.loads, p) + precision))


def _curvature(loads: Floats, p: Floats) -> Floats:
    """[K, K] sum_q p (1 - p) a a'."""
    out: Floats = (loads * np.maximum(p * (1 - p), _FLOOR)[:, None]).T @ loads
    return out
