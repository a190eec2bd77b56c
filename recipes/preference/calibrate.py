"""Fit the calibrations that ship, one an encoder, on the `fit` phrasings of five seeds and the routes that are not `late`.

    python recipes/preference/calibrate.py hashing minilm hybrid

Five routes stay out of it, so that what is said about adding routes is about routes it never saw.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from conversations import HERE, conversations, phrases

from routewright.config import dump
from routewright.policies.preference_eval import Labelled
from routewright.policies.preference_fit import SHIPPED, fit_on
from routewright.policies.routes import Routes, read_routes

SEEDS, COUNT = 5, 640


def labelled(part: str, seed: int, routes: tuple[str, ...] | None = None, count: int = COUNT) -> list[Labelled]:
    """A generated set."""
    made = conversations(part, count, seed, routes)
    return [Labelled(c["id"], tuple(c["messages"]), tuple(c["routes"]), tuple(c["phrases"])) for c in made]


def early() -> Routes:
    """The routes without the late ones."""
    read, late = read_routes(HERE / "routes.toml"), phrases()["late"]
    return read.model_copy(update={"routes": tuple(r for r in read.routes if r.name not in late)})


def main() -> None:
    routes = early()
    made = [one for seed in range(SEEDS) for one in labelled("fit", seed, routes.names)]
    known = json.loads(SHIPPED.read_text(encoding="utf-8")) if SHIPPED.exists() else {}
    for encoder in sys.argv[1:]:
        known[encoder] = json.loads(dump(fit_on(routes, made, encoder)))
        print(encoder, known[encoder])
    SHIPPED.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
