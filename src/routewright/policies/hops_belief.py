"""What the replies so far say: for every model its chance of being right, of agreeing, and what asking it would gain.

From classes of queries (`hops_classes.py`) and who agrees with whom. Let g be the groups of equal answers. A hypothesis
says which group is the truth (or none yet) and which the common mistake (or none yet); every other group is an answer
of somebody's own, which two models hardly share. With A[z, g], B[z, g], U[z, g] the chance of g's replies under each,

    P(truth = a, mistake = b, z | seen)  ~  share[z] * prod_no-key N * A[z, a] * B[z, b] * prod_others U[z, g]

Everything else is read off that:

    right[m]  chance that model m, asked next, is right          joins[m]  ... that it says what the likeliest answer says
    gain[m]   E[ chance of the likeliest answer after m ] - the chance of the likeliest answer now

`gain` is what one more call buys, costs aside. Situations depend on sequence and agreement alone, so each is worked out
once per batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routewright.policies.hops_classes import MISTAKE, NONE, OWN, TRUTH, Classes
from routewright.policies.observe import Observation, last, voted
from routewright.types import Floats, Ints

_SHARED = 1e-4  # chance, per reply, that two answers of somebody's own are equal
MOST_GROUPS = 4


@dataclass(frozen=True)
class Belief:
    """Of B episodes over the C columns of the classes.

    `right`, `joins`, `gain` [B, C] as the module says, `cost_usd` [B, C] expected cost; `last` and `vote` [B] expected
    score of those answers, `best` and `second` [B] chance of the likeliest answer and the next.
    """

    right: Floats
    joins: Floats
    gain: Floats
    cost_usd: Floats
    last: Floats
    vote: Floats
    best: Floats
    second: Floats

    def rows(self, at: Ints) -> Belief:
        return Belief(*(getattr(self, name)[at] for name in self.__dataclass_fields__))


def believe(classes: Classes, obs: Observation, columns: Ints) -> Belief:
    """What an observation says; only replies of `columns`, the models of the classes, are evidence.

    At most 4 groups are told apart: a reply that would open a fifth counts as one without a key.
    """
    order, key = obs.order[:, columns], obs.key[:, columns]
    place = np.full(len(obs.models) + 1, -1)
    place[columns] = np.arange(len(columns))
    speakers = np.stack([place[last(obs)], place[voted(obs)]], axis=1)  # a model that is no column: -1, and unknown
    group = _groups(order, np.where(obs.usable[:, columns], key, -1))
    seen = np.concatenate([group, order >= 0, speakers], axis=1).astype(np.int8)
    _, first, which = np.unique(seen, axis=0, return_index=True, return_inverse=True)
    return _work_out(classes, order[first] >= 0, group[first], speakers[first]).rows(which.ravel())


def _groups(order: Ints, key: Ints) -> Ints:
    """[B, C] number of the reply's group in the order they came up; -1: not asked, or without a key."""
    late = np.iinfo(np.int64).max
    keyed = (order >= 0) & (key >= 0)
    same = (key[:, :, None] == key[:, None]) & keyed[:, :, None] & keyed[:, None]
    first = np.where(same, order[:, None], late).min(axis=2)  # when the group came up
    opens = keyed & (first == order)
    number = (opens[:, None] & (order[:, None] < first[:, :, None])).sum(axis=2)
    return np.where(keyed & (number < MOST_GROUPS), number, -1)


def _work_out(classes: Classes, asked: np.ndarray, group: Ints, speakers: Ints) -> Belief:
    n, g = len(asked), MOST_GROUPS
    chance = classes.chance  # [K, C, 4]
    member = group[:, None] == np.arange(g)[None, :, None]  # [n, g, C]
    size = member.sum(axis=2)  # [n, g]
    log = np.log(chance)
    flat = member.reshape(n * g, -1).astype(np.float64)
    truth, mistake, own = ((flat @ log[:, :, part].T).reshape(n, g, -1) for part in (TRUTH, MISTAKE, OWN))
    own = own + np.where(size >= 2, size * np.log(_SHARED), 0.0)[:, :, None]
    no_key = (asked & (group < 0)).astype(np.float64) @ log[:, :, NONE].T
    base = np.log(classes.share) + no_key + own.sum(axis=1)  # [n, K]
    there = (size > 0)[:, :, None]
    a = np.concatenate([np.ones((n, 1, base.shape[1])), np.where(there, np.exp(truth - own), 0.0)], axis=1)
    b = np.concatenate([np.ones((n, 1, base.shape[1])), np.where(there, np.exp(mistake - own), 0.0)], axis=1)
    base = np.exp(base - base.max(axis=1, keepdims=True))
    joint = base[:, None, None] * a[:, :, None] * b[:, None]  # [n, truth, mistake, K]; 0 stands for none
    both = np.arange(1, g + 1)
    joint[:, both, both] = 0.0
    joint /= joint.sum(axis=(1, 2, 3), keepdims=True)
    is_truth, is_mistake = joint.sum(axis=2), joint.sum(axis=1)  # [n, 1 + g, K]
    of_class = is_truth.sum(axis=1)  # [n, K]
    likely = is_truth[:, 1:].sum(axis=2)  # [n, g]
    top = likely.argmax(axis=1)
    rows = np.arange(n)
    best = likely[rows, top]
    rest = likely.copy()
    rest[rows, top] = 0.0
    p = [chance[:, :, part].T for part in range(4)]  # [C, K]
    joins = is_truth[rows, top + 1] @ p[TRUTH].T + is_mistake[rows, top + 1] @ p[MISTAKE].T
    right = of_class @ (chance * classes.right).sum(axis=2)
    # The chance of the likeliest answer after m replied, by what m may say: an answer seen before, a new one, or none.
    after = (is_truth[:, 1:] @ p[NONE].T).max(axis=1)
    free = joint[:, 1:, 0] @ (p[OWN] + p[MISTAKE]).T + joint[:, 1:, 1:].sum(axis=2) @ p[OWN].T  # [n, g, C]
    after = after + np.maximum(free.max(axis=1), is_truth[:, 0] @ p[TRUTH].T)
    confirmed = is_truth[:, 1:] @ p[TRUTH].T  # m says what is the truth
    against = joint[:, 1:, 1:] @ p[MISTAKE].T  # [n, truth, mistake, C]: m says what is the mistake
    for j in range(g):
        here = against[:, :, j].copy()
        here[:, j] += confirmed[:, j]
        after = after + here.max(axis=1)
    expected = []
    for column in speakers.T:
        mine = column.clip(0)
        of = group[rows, mine]
        own_right = classes.right[mine]  # [n, 4]
        if_truth, if_mistake = is_truth[rows, of + 1].sum(axis=1), is_mistake[rows, of + 1].sum(axis=1)
        keyed = if_truth * own_right[:, TRUTH] + if_mistake * own_right[:, MISTAKE]
        keyed = keyed + (1 - if_truth - if_mistake) * own_right[:, OWN]
        score = np.where(of >= 0, keyed, own_right[:, NONE])
        expected.append(np.where((column >= 0) & asked[rows, mine], score, 0.0))
    cost = of_class @ classes.cost_usd
    return Belief(right, joins, after - best[:, None], cost, expected[0], expected[1], best, rest.max(axis=1))
