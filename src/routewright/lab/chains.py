"""Which operations can follow which in a composed question, and which such pairs are held out.

A shape is a short program: operations in order, each with the numbers of those whose answers it takes. Two kinds:

    a > b > c > d        one chain
    (a > b, c) > d       two branches that meet, and at most one operation after it

An operation other than a fact makes a pair with the chain before it: ("source>capital", "vowels"), ("vowels", "times").
Pairs belong to splits: no training question has a pair of the others, though it has the chain and the operation apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

from routewright.lab.families import FAMILIES
from routewright.lab.families.base import Operation
from routewright.lab.world import Split, part

STEPS = (2, 3, 4)
_ACCEPTS = {"name": {"name", "country", "city", "person", "proper"}, "proper": {"country", "city", "person"}}


@dataclass(frozen=True)
class Link:
    """One operation of a shape, and the links it takes answers from."""

    family: str
    operation: Operation
    after: tuple[int, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether it takes numbers: two of them in a row can not be nested in one noun phrase without ambiguity."""
        return bool(self.after) and self.operation.takes[0] == "number"


@dataclass(frozen=True)
class Shape:
    """A composed question without its values."""

    links: tuple[Link, ...]

    @cached_property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(chain, operation) of every answer that goes into something else than a fact."""
        return tuple(
            (self._chain(i), link.operation.name) for link in self.links if link.family != "facts" for i in link.after
        )

    @cached_property
    def splits(self) -> frozenset[Split]:
        """The splits its pairs belong to."""
        return frozenset(pair_split(*pair) for pair in self.pairs)

    @cached_property
    def nests(self) -> bool:
        """Whether it can be said in one noun phrase."""
        return not any(link.counts and self._counted(i) for link in self.links for i in link.after)

    @property
    def name(self) -> str:
        """Its operations in order, for people."""
        return ">".join(link.operation.name for link in self.links)

    def _chain(self, i: int) -> str:
        link = self.links[i]
        if link.family != "facts" or not link.after:
            return link.operation.name
        return f"{self._chain(link.after[0])}>{link.operation.name}"

    def _counted(self, i: int) -> bool:
        return self.links[i].counts or any(self._counted(j) for j in self.links[i].after)


def pair_split(chain: str, operation: str) -> Split:
    """Where a pair belongs, for ever. The 6: the deal in which training still has every chain and every operation."""
    return part("pair", "6", chain, operation)


@cache
def shapes(steps: int, group: str) -> dict[str, tuple[Shape, ...]]:
    """Shapes by their first operation.

    Args:
        steps: How many operations.
        group: `train`: only pairs of training. `validation` or `test`: at least one pair of that split, the others of training.
    """
    found: dict[str, list[Shape]] = {}
    for shape in _all(steps):
        if shape.splits | {"train"} == {"train", group}:
            if group != "train" and shape.splits.isdisjoint({group}):
                continue
            found.setdefault(shape.links[0].operation.name, []).append(shape)
    return {first: tuple(some) for first, some in found.items()}


@cache
def _catalogue() -> tuple[tuple[str, Operation], ...]:
    return tuple((f, o) for f in FAMILIES for o in FAMILIES.load(f).operations if o.gives)


def _starts() -> Iterator[Link]:
    """What a chain can begin with: a fact of an entity, a table, a list of numbers."""
    for family, operation in _catalogue():
        if family == "facts" or not operation.takes:
            yield Link(family, operation)


def _fits(takes: str, gives: str) -> bool:
    return gives in _ACCEPTS.get(takes, {takes})


def _longer(links: tuple[Link, ...]) -> Iterator[tuple[Link, ...]]:
    """The chains with one more operation: none twice, and no two in a row that reckon in the same family."""
    last, at = links[-1], len(links) - 1
    for family, operation in _catalogue():
        alone = len(operation.takes) == 1 or family == "arithmetic"
        if not operation.takes or not alone or not _fits(operation.takes[0], last.operation.gives):
            continue
        if (family == last.family != "text" and operation.takes[0] == "number") or any(
            link.operation is operation for link in links
        ):
            continue
        yield (*links, Link(family, operation, (at,)))


@cache
def _chains(steps: int) -> tuple[tuple[Link, ...], ...]:
    if steps == 1:
        return tuple((start,) for start in _starts())
    return tuple(longer for links in _chains(steps - 1) for longer in _longer(links))


def _joined(steps: int) -> Iterator[tuple[Link, ...]]:
    """A branch of `steps` - 2 operations and one of a single operation, joined."""
    joins = [(f, o) for f, o in _catalogue() if len(o.takes) == 2]
    for left in _chains(steps - 2):
        if any(link.counts for link in left):
            continue
        for (right,) in _chains(1):
            if left[0].operation.preface and right.operation.preface:
                continue
            for family, operation in joins:
                gives = left[-1].operation.gives, right.operation.gives
                if all(map(_fits, operation.takes, gives)) and left[-1].operation.name != "number_cell":
                    n = len(left)
                    yield (*left, right, Link(family, operation, (n - 1, n)))


@cache
def _all(steps: int) -> tuple[Shape, ...]:
    links = list(_chains(steps))
    if steps >= 3:
        links += _joined(steps)
    if steps >= 4:
        links += [longer for joined in _joined(steps - 1) for longer in _longer(joined)]
    return tuple(Shape(some) for some in links if len({link.family for link in some}) > 1)
