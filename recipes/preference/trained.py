"""A tiny trained matcher beside the embedding ones: a bi-encoder over hashed n-grams, learnt on phrasings of 22 routes.

    python recipes/preference/trained.py --out out/preference_trained.json [--seeds 5] [--ways trained,hashed,hashing]

    x(t) = counts of word stems, pairs of them, and of 3 to 5 letters within them, hashed to 4,096, logarithm, length one
    u(t) = x(t) W / |x(t) W|                       W [4096, 128], at the start a random projection
    loss = cross-entropy of the route of an opening turn over all routes,  logit = 12 * <u(t), mean of u(a route's texts)>

Trained are the `fit` phrasings of the 22 routes that are not late; a route is its description and examples, some of them
hidden at every step, so what is learnt has to go through the texts. The five late routes are added by writing them
down. In half precision W takes 1 MiB. Everything else is the policy's matcher, its calibration fitted for each seed on the same phrasings, with
encoders that did not see them (three parts). Beside it: the same without a step of training (`hashed`), and the matchers that ship.
Training needs torch (extra `train`); one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from calibrate import early, labelled
from conversations import HERE, phrases
from page import draws, units
from ways import matcher

from routewright.outcomes.table import beside
from routewright.policies.preference_eval import Found, Labelled, find_all, judge
from routewright.policies.preference_fit import calibration_error, calibration_of, fit
from routewright.policies.preference_match import Matcher, Seen, content
from routewright.policies.routes import OTHER, Routes, read_routes
from routewright.types import Floats

BUCKETS, WIDTH, SCALE = 4096, 128, 12.0
STEPS, RATE, HIDE, PARTS = 200, 0.003, 0.4, 3


def hashed(text: str) -> Floats:
    """[BUCKETS] of length one; zeros where a text says nothing."""
    out = np.zeros(BUCKETS)
    words = content(text)
    pieces = [*words, *(f"{a} {b}" for a, b in pairwise(words))]
    for word in words:
        edged = f"<{word}>"
        pieces += [f"#{edged[i : i + n]}" for n in (3, 4, 5) for i in range(len(edged) - n + 1)]
    for piece in pieces:
        out[zlib.crc32(piece.encode()) % BUCKETS] += 1
    out = np.log1p(out)
    length = np.linalg.norm(out)
    return out / length if length > 0 else out


def start(seed: int) -> Floats:
    return np.random.default_rng((seed, 41)).normal(0, WIDTH**-0.5, (BUCKETS, WIDTH))


def learn(routes: Routes, turns: Sequence[tuple[str, str]], seed: int) -> Floats:
    """W, from opening turns and the names of their routes."""
    import torch

    dice = torch.Generator().manual_seed(seed)
    texts = [[f"{r.name.replace('_', ' ')}. {r.description}", *r.examples] for r in routes.routes]
    owner = torch.tensor([i for i, some in enumerate(texts) for _ in some])
    said = torch.tensor(np.stack([hashed(t) for some in texts for t in some]), dtype=torch.float32)
    at = {name: i for i, name in enumerate(routes.names)}
    asked = torch.tensor(np.stack([hashed(t) for t, _ in turns]), dtype=torch.float32)
    wanted = torch.tensor([at[name] for _, name in turns])
    member = (owner[None] == torch.arange(len(texts))[:, None]).float()  # [R, texts]
    w = torch.tensor(start(seed), dtype=torch.float32).requires_grad_()
    steps = torch.optim.Adam([w], lr=RATE)
    for _ in range(STEPS):
        shown = member * (torch.rand(member.shape, generator=dice) >= HIDE)
        shown = torch.where(shown.sum(dim=1, keepdim=True) > 0, shown, member)
        own = torch.nn.functional.normalize(said @ w, dim=1)
        route = (shown @ own) / shown.sum(dim=1, keepdim=True)
        kept = asked * (torch.rand(asked.shape, generator=dice) >= 0.2)
        logits = SCALE * torch.nn.functional.normalize(kept @ w, dim=1) @ route.T
        loss = torch.nn.functional.cross_entropy(logits, wanted)
        steps.zero_grad()
        loss.backward()
        steps.step()
    learnt: Floats = w.detach().numpy().astype(np.float16).astype(np.float64)  # as it would be kept
    return learnt


class Trained(Matcher):
    """The policy's matcher with vectors by W."""

    def __init__(self, routes: Routes, w: Floats, calibration: Any = None) -> None:
        self.w = w
        super().__init__(routes, "hashing", calibration)

    def _encode(self, texts: Sequence[str]) -> Any:
        if not texts:
            return np.zeros((0, WIDTH))
        vectors = np.stack([hashed(t) for t in texts]) @ self.w
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-9)
        moved = np.where(length > 1e-9, vectors - self._common, vectors)
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        return np.divide(moved, length, out=np.zeros_like(moved), where=length > 1e-9)


def openings(some: Sequence[Labelled], without: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    """Opening turns that have a route, once each."""
    found = {}
    for one in some:
        if one.routes[0] != OTHER and one.phrases[0] not in without:
            found[one.asked()[0][-1][1]] = one.routes[0]
    return list(found.items())


def calibrated(routes: Routes, fitting: Sequence[Labelled], encode: Callable[[list[tuple[str, str]]], Floats]) -> Any:
    """A calibration by encoders that did not see the phrases they are judged on."""
    turns = [turn for one in fitting for turn in one.asked()]
    labels = [label for one in fitting for label in one.routes]
    names = [phrase for one in fitting for phrase in one.phrases]
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    dealt = np.random.default_rng(0).permutation(len(number)) % PARTS
    part = np.array([dealt[number[n]] for n in names])
    kept: list[tuple[np.ndarray, Seen]] = []
    for k in range(PARTS):
        rows = np.flatnonzero(part == k)
        hidden = frozenset(name for name, i in number.items() if dealt[i] == k)
        kept.append((rows, Trained(routes, encode(openings(fitting, hidden))).see([turns[i] for i in rows])))
    order = np.argsort(np.concatenate([rows for rows, _ in kept]), kind="stable")
    seen = Seen(*(np.concatenate([getattr(s, f) for _, s in kept])[order] for f in Seen.__dataclass_fields__))
    at = {name: i for i, name in enumerate(routes.names)}
    return fit(seen, [at.get(x, -1) for x in labels], [number[n] for n in names], "hashing")


def main() -> None:
    """Measure, print a line a way, and write what the page needs."""
    parser = argparse.ArgumentParser(description="A tiny trained matcher of routes.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ways", default="trained,hashed,hashing,minilm")
    given = parser.parse_args()
    whole, few, late = read_routes(HERE / "routes.toml"), early(), set(phrases()["late"])
    known: dict[str, tuple[list[Labelled], list[list[Found]]]] = {}
    spent: dict[str, float] = {}
    for seed in range(given.seeds):
        fitting, test = labelled("fit", seed, few.names), labelled("test", seed)
        for way in given.ways.split(","):
            began = time.process_time()
            if way in ("trained", "hashed"):

                def encode(some: list[tuple[str, str]], way: str = way, seed: int = seed) -> Floats:
                    return learn(few, some, seed) if way == "trained" else start(seed)

                made: Matcher = Trained(whole, encode(openings(fitting)), calibrated(few, fitting, encode))
            else:
                made = Matcher(whole, way, calibration_of("", way))
            spent[way] = spent.get(way, 0.0) + time.process_time() - began
            conversations, found = known.setdefault(way, ([], []))
            conversations += test
            found += find_all(test, matcher(made))
    told = {}
    base = draws(units(*known["hashing"])["turn"]) if "hashing" in known else None
    for way, (conversations, found) in known.items():
        judged, parts = judge(conversations, found), units(conversations, found)
        pairs = [
            (phrase, label, f)
            for one, row in zip(conversations, found, strict=True)
            for phrase, label, f in zip(one.phrases, one.routes, row, strict=True)
        ]
        groups = {
            "turn": parts["turn"],
            "span": parts["span"],
            "conversation": parts["conversation"],
            "late": [(p, f.route == label) for p, label, f in pairs if label in late],
            "early": [(p, f.route == label) for p, label, f in pairs if label not in late and label != OTHER],
        }
        row: dict[str, Any] = {}
        for name, some in groups.items():
            mean, drawn = draws(some)
            row[name] = [mean, *map(float, np.quantile(drawn, [0.025, 0.975]))]
        row["overall"], row["outside"] = judged.overall, [judged.outside_precision, judged.outside_recall]
        sure = np.array([f.confidence for _, _, f in pairs], dtype=np.float64)
        best = np.array([f.route == label for _, label, f in pairs])
        row["calibration_error"] = calibration_error(sure[[f.route != OTHER for _, _, f in pairs]], best[[f.route != OTHER for _, _, f in pairs]])  # fmt: skip
        if base is not None:
            mean, drawn = draws(parts["turn"])
            row["less_hashing"] = [mean - base[0], *map(float, np.quantile(drawn - base[1], [0.025, 0.975]))]
        row["fit_cpu_s"] = spent[way] / given.seeds
        told[way] = row
        print(way, json.dumps(row, default=float), flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with beside(given.out) as part:
        part.write_text(json.dumps({"seeds": given.seeds, "ways": told}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
