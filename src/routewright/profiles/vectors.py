"""A model as one vector, by RouteProfile's four dimensions: form, representation, depth, learning.

    graph    nodes: models, families, tasks, domains, queries; an edge from each to those it belongs to, and between model
             and query (and so task) with weight  r[q, m] = quality[q, m] - mean over models of quality[q]
    one hop  h'[v] = h[v] + mean over the kinds of neighbours of  sum_u w[v, u] h[u] / sum_u |w[v, u]|
    profile  a model's h after `depth` hops, scaled to one length

At the start a query is its text vector, a model a random vector (its index), everything else zero. Flat profiles have no
graph: an index, or a text that says name, family, score and price. A structured text tells what the hops reach in words.

`vectors` makes profiles from the training part of an outcome table, and from nothing else. Called by the scorer `profiled`
and by the recipe that compares the whole table of designs. Not here: trained profiles (`masked.py`), a model that joins (`joining.py`), pages for people
(`pages.py`), routers that read profiles (`scorers/pairs.py`).

Reference: RouteProfile, arXiv:2605.00180. Differs: edges carry how much better a model did than the others, which keeps
easy queries from drowning the rest; texts are written from outcomes, by no language model; families and domains are from
`families.toml`, since outcome tables name neither.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from routewright.config import Config
from routewright.outcomes.arrays import Outcomes
from routewright.types import Floats, Ints

HOPS = 4
_SNIPPET = 160  # characters of a query in a profile's text
_TELLS = 3  # tasks, queries or relatives named a hop


class RouteProfile(Config):
    """What a model's profile is made of."""

    form: Literal["flat", "structured"] = Field("structured", description="flat, or gathered over the graph")
    representation: Literal["index", "text", "embedding"] = Field(
        "embedding", description="a random vector, words, or vectors gathered over the graph"
    )
    depth: int = Field(2, ge=0, le=HOPS, description="hops over the graph; 0 where flat")
    learning: Literal["free", "masked"] = Field(
        "free", description="without training, or trained to restore hidden edges and nodes (needs torch)"
    )

    @model_validator(mode="after")
    def _there_is_such_a_design(self) -> RouteProfile:
        if self.form == "flat" and (self.depth or self.representation == "embedding" or self.learning != "free"):
            raise ValueError(
                f"a flat profile is an index or a text, depth 0, without training; got {self.representation}, depth "
                f"{self.depth}, {self.learning}"
            )
        if self.form == "structured" and (not self.depth or self.representation == "index"):
            raise ValueError(
                f"a structured profile is text or embedding with depth 1 to {HOPS}; got {self.representation}, depth {self.depth}"
            )
        if self.learning == "masked" and self.representation != "embedding":
            raise ValueError(f"only embeddings are trained, got {self.representation}")
        return self

    @property
    def name(self) -> str:
        """`structured text 2`, `flat index`, `structured embedding 3 masked`."""
        parts = [self.form, self.representation, str(self.depth) if self.depth else "", self.learning]
        return " ".join(p for p in parts if p and p != "free")


def designs() -> tuple[RouteProfile, ...]:
    """Every design there is: 2 flat, and 4 depths of text, embedding and trained embedding."""
    hops = range(1, HOPS + 1)
    return (
        RouteProfile(form="flat", representation="index", depth=0),
        RouteProfile(form="flat", representation="text", depth=0),
        *(RouteProfile(representation="text", depth=d) for d in hops),
        *(RouteProfile(depth=d) for d in hops),
        *(RouteProfile(depth=d, learning="masked") for d in hops),
    )


@cache
def _known() -> dict[str, dict[str, str]]:
    text = files("routewright.profiles").joinpath("families.toml").read_text(encoding="utf-8")
    read: dict[str, dict[str, str]] = tomllib.loads(text)
    return read


def family(model: str) -> str:
    """Who made it, and which series; a model nobody listed is a family of its own."""
    return _known()["families"].get(model, model)


def domain(task: str, dataset: str) -> str:
    """What a task is about; of a task nobody listed, its data set."""
    return _known()["domains"].get(task, dataset)


class Graph:
    """The nodes of a table's training part and the weights between them; weights' absolute row sums are 1 or 0."""

    def __init__(self, table: Outcomes) -> None:
        self.models = table.models
        self.tasks, task = _numbered([f"{q.dataset}/{q.task}" for q in table.queries])
        named = dict(zip([f"{q.dataset}/{q.task}" for q in table.queries], table.queries, strict=True))
        self.families, self.family = _numbered([family(m) for m in table.models])
        self.domains, self.domain = _numbered(
            [domain(named[t].task, named[t].dataset) or "unnamed" for t in self.tasks]
        )
        self.edges = table.quality - table.quality.mean(axis=1, keepdims=True)  # [Q, M]
        belongs = np.eye(len(self.tasks))[task]  # [Q, T]
        by_task = belongs.T @ self.edges / belongs.sum(axis=0)[:, None]  # [T, M]
        kin = np.eye(len(self.families))[self.family]  # [M, F]
        area = np.eye(len(self.domains))[self.domain]  # [T, D]
        self.by_task, self.task = by_task, task
        self.weights: dict[str, dict[str, Floats]] = {
            "model": {"query": self.edges.T, "task": by_task.T, "family": kin},
            "query": {"model": self.edges, "task": belongs},
            "task": {"query": belongs.T, "model": by_task, "domain": area},
            "family": {"model": kin.T},
            "domain": {"task": area.T},
        }
        for kinds in self.weights.values():
            for name, w in kinds.items():
                total = np.abs(w).sum(axis=1, keepdims=True)
                kinds[name] = np.divide(w, total, out=np.zeros_like(w), where=total > 1e-12)

    def start(self, z: Floats, seed: int) -> dict[str, Floats]:
        """The nodes' vectors before any hop; z is [Q, K]."""
        k = z.shape[1]
        return {
            "model": index(len(self.models), k, seed),
            "query": z,
            "task": np.zeros((len(self.tasks), k)),
            "family": np.zeros((len(self.families), k)),
            "domain": np.zeros((len(self.domains), k)),
        }

    def gathered(self, z: Floats, seed: int) -> list[Floats]:
        """Models' profiles [M, K] after 1 to 4 hops."""
        return [now["model"] for now in self.hops(self.start(z, seed), HOPS)[1:]]

    def hops(self, start: dict[str, Floats], depth: int) -> list[dict[str, Floats]]:
        """Every node's vector after 0 to `depth` hops."""
        out = [start]
        for _ in range(depth):
            now = out[-1]
            out.append(
                {
                    kind: unit(own + np.mean([w @ now[to] for to, w in self.weights[kind].items()], axis=0))
                    for kind, own in now.items()
                }
            )
        return out

    def told(self, depth: int, texts: Sequence[str], price_usd: Floats, score: Floats) -> list[str]:
        """A profile in words: what the card says, and a sentence or three for every hop."""
        said = []
        for m, name in enumerate(self.models):
            lines = [
                f"Model {name} of the family {self.families[self.family[m]]}. Mean score {score[m]:.2f}, "
                f"{1000 * price_usd[m]:.3g} USD per 1,000 calls."
            ]
            tasks = np.argsort(-self.by_task[:, m], kind="stable")[:_TELLS]
            if depth >= 1:
                best = np.argsort(-self.edges[:, m], kind="stable")[:_TELLS]
                lines.append("Better than others at " + ", ".join(self.tasks[t] for t in tasks) + ".")
                lines += [texts[q][:_SNIPPET] for q in best]
            if depth >= 2:
                lines.append("These are about " + ", ".join(self.domains[self.domain[t]] for t in tasks) + ".")
                lines += [texts[int(np.flatnonzero(self.task == t)[0])][:_SNIPPET] for t in tasks]
            kin = [k for k in np.flatnonzero(self.family == self.family[m]) if k != m][:_TELLS]
            if depth >= 3:
                for k in kin:
                    lines.append(f"{self.models[k]} is better at {self.tasks[int(self.by_task[:, k].argmax())]}.")
            if depth >= 4:
                near = np.flatnonzero(np.isin(self.domain, self.domain[tasks]))[: 2 * _TELLS]
                lines.append("Near to " + ", ".join(self.tasks[t] for t in near) + ".")
            said.append(" ".join(lines))
        return said


def index(n: int, k: int, seed: int) -> Floats:
    """[n, k] random vectors of one length: they tell models apart, and nothing else."""
    return unit(np.random.default_rng((seed, 605)).normal(size=(n, k)))


def unit(rows: Floats) -> Floats:
    """Rows scaled to length sqrt(K), so that an entry is of size 1; rows of zeros stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    out: Floats = np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-9) * np.sqrt(rows.shape[1])
    return out


def texts(config: RouteProfile, table: Outcomes, graph: Graph) -> list[str]:
    """A profile of each model in words, in the order of the pool."""
    return graph.told(
        config.depth, [q.text for q in table.queries], table.cost_usd.mean(axis=0), table.quality.mean(axis=0)
    )


def vectors(config: RouteProfile, graph: Graph, z: Floats, seed: int) -> Floats:
    """[M, K] profiles of the designs that are not text.

    Args:
        graph: Of the training part.
        z: [Q, K] vectors of its queries.
        seed: Of indices, and of training.
    """
    if config.representation == "index":
        return index(len(graph.models), z.shape[1], seed)
    if config.learning == "free":
        return graph.gathered(z, seed)[config.depth - 1]
    from routewright.profiles.masked import trained

    return trained(graph, z, config.depth, seed)


def _numbered(names: Sequence[str]) -> tuple[list[str], Ints]:
    """The different names, sorted, and the number of each."""
    different, number = np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)
    return [str(n) for n in different], number.astype(np.int64)
