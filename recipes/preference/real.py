"""Real questions as a test: subjects of MMLU-Redux and BFCL's requests as routes, AlpacaEval's instructions out of scope.

Nothing here was fitted on them: descriptions and examples are ours, the calibration is the one that ships. The data is not
part of the repository; it is expected in `../shared/data` beside the checkout.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from routewright.policies.preference_eval import Labelled
from routewright.policies.preference_fit import calibration_of
from routewright.policies.preference_match import Matcher
from routewright.policies.routes import OTHER, read_routes

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "data"
TABLES = ("mmlu_redux", "bfcl_v1", "alpaca_eval_v1")
_SUBJECTS = {
    "anatomy": "medicine",
    "clinical_knowledge": "medicine",
    "college_medicine": "medicine",
    "econometrics": "econometrics",
    "college_chemistry": "chemistry",
    "college_mathematics": "mathematics",
    "college_physics": "physics",
    "college_computer_science": "computer_science",
    "electrical_engineering": "electrical_engineering",
    "business_ethics": "business_ethics",
    "formal_logic": "formal_logic",
}


def real(table: str, folder: Path = SHARED) -> list[Labelled]:
    """The questions of one table with their routes."""
    import polars as pl

    frame = pl.read_parquet(folder / f"{table}.parquet", columns=["query_id", "task", "query"])
    frame = frame.unique("query_id", maintain_order=True)
    made = []
    for name, task, text in frame.iter_rows():
        route = {"mmlu_redux": _SUBJECTS.get(task, OTHER), "bfcl_v1": "function_calling"}.get(table, OTHER)
        made.append(Labelled(str(name), ({"role": "user", "content": text},), (route,), (str(name),)))
    return made


def shares(made: Sequence[Labelled], matcher: Matcher) -> tuple[list[bool], list[bool], list[str]]:
    """Of each question: whether its route was found, whether it was the best one at any confidence, and what was found."""
    found = matcher.matches([one.asked()[0] for one in made])
    right = [m.route == one.routes[0] for one, m in zip(made, found, strict=True)]
    best = [m.best == one.routes[0] for one, m in zip(made, found, strict=True)]
    return right, best, [m.route for m in found]


def real_tables(matchers: Sequence[str]) -> None:
    """The section of the page."""
    print("\n## Real questions\n")
    missing = [table for table in TABLES if not (SHARED / f"{table}.parquet").exists()]
    if missing:
        print(f"Not measured: needs {', '.join(missing)} in ../shared/data.")
        return
    routes = read_routes(HERE / "real.toml")
    print(
        "Ten routes of our own wording (`real.toml`) on questions as they are recorded; AlpacaEval is out of scope. Percent, 95% "
        "intervals over questions. *Best route*: right if nothing is sent to `other`.\n"
    )
    print("| encoder | table | questions | right | best route | sent to other |\n|---|---|---|---|---|---|")
    for encoder in matchers:
        matcher = Matcher(routes, encoder, calibration_of("", encoder))
        for table in TABLES:
            made = real(table)
            right, best, found = shares(made, matcher)
            other = [name == OTHER for name in found]
            cells = [_shown(right), _shown(best) if table != "alpaca_eval_v1" else "-", _shown(other)]
            print(f"| {encoder} | {table} | {len(made)} | " + " | ".join(cells) + " |")


def _shown(hits: Sequence[bool]) -> str:
    some = np.array(hits, dtype=float)
    drawn = np.random.default_rng(0).choice(some, (1000, len(some))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{100 * some.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"
