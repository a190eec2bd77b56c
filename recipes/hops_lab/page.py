"""Write the section *Relay* of docs/results.md: `python recipes/hops_lab/page.py out/hops-lab >> docs/results.md`.

Every number comes from what `train.py`, `hier.py` and `live.py` wrote; only the prose is fixed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from hier import HOPS

from routewright.types import Floats
from train import KINDS

DRAWS = 10_000


def interval(difference: Floats) -> str:
    """Mean of [Q] and its 95 % bootstrap interval over questions, percent."""
    rng = np.random.default_rng(0)
    n = len(difference)
    drawn = [difference[rng.integers(n, size=n)].mean() for _ in range(DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{100 * difference.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def of(rows: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    return [row for name, row in rows.items() if name == prefix or name.startswith(f"{prefix}/")]


def right(found: list[dict[str, Any]]) -> Floats:
    """[Q] mean over seeds."""
    return np.asarray(np.mean([row["right"] for row in found], axis=0))


def live(told: dict[str, Any]) -> None:
    rows, middle = told["rows"], told["middle"]
    base = f"relay ppo @{middle:g}"
    names = list(dict.fromkeys(name.split("/")[0] for name in rows))
    mine = right(of(rows, base))
    print(
        f"\n### Live\n\n{told['questions']} composed test questions; seeds are trainings. The difference is `{base}` minus the row, mean over "
        "seeds, with a 95% paired bootstrap interval over questions; the spread over seeds stands apart. `@` is the trade-off: "
        f"a right answer is worth so many mean costs of the best single model. A decision takes {told['decision_ms']:.2f} ms of CPU in NumPy, "
        "reading the question included.\n"
    )
    print("| policy | seeds | right, % | over seeds | USD / 1,000 | calls | largest share | relay minus it |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        found = of(rows, name)
        each = [100 * float(np.mean(row["right"])) for row in found]
        usd = 1000 * float(np.mean([np.mean(row["usd"]) for row in found]))
        calls = float(np.mean([row["calls"] for row in found]))
        share = float(np.mean([max(row["who"].values()) / sum(row["who"].values()) for row in found]))
        spread = f"{min(each):.1f} to {max(each):.1f}" if len(each) > 1 else ""
        less = "" if name == base else interval(mine - right(found))
        print(
            f"| {name} | {len(found)} | {np.mean(each):.1f} | {spread} | {usd:.3g} | {calls:.2f} | {100 * share:.0f}% | {less} |"
        )


def trained(folder: Path) -> None:
    print(
        "\n### Training\n\nHeld out: return times 100, over fitted Q of the same seed, for each seed.\n\n"
        "| kind | seeds | CPU s | kept by the queries held back | gain held out |\n|---|---|---|---|---|"
    )
    for kind in KINDS:
        name = kind.replace(", ", "-").replace(" ", "-")
        told = [json.loads(p.read_text()) for p in sorted(folder.glob(f"trained/{name}-[0-9]/told.json"))]
        if not told:
            continue
        kept, gains = "", ""
        if kind.split(",")[0] != "q":
            best = [
                max((h for h in t["history"] if "held_out_gain" in h), key=lambda h: h["held_out_gain"]) for t in told
            ]
            kept = f"{sum(b['held_out_gain'] > b['held_out_error'] for b in best)} of {len(best)}"
            gains = ", ".join(f"{100 * b['held_out_gain']:+.1f}" for b in best)
        cpu = np.mean([t["cpu_s"] for t in told])
        print(f"| {kind} | {len(told)} | {cpu:.0f} | {kept} | {gains} |")


def hier(told: dict[str, Any]) -> None:
    lines = told["pipelines"]
    chosen = max(lines, key=lambda p: p["in_sample"])
    after = max(lines, key=lambda p: float(np.mean(p["right"])))
    repeats = [p for p in lines if len(set(p["name"].split(" > "))) == 1]
    single = {m: float(np.mean(row["right"])) for m, row in told["single"].items()}
    best = max(single, key=single.__getitem__)
    print(
        f"\n### HierRouter's own setting\n\n{HOPS} hops, no stop, PPO from noise, on whole trees of {', '.join(told['models'])}: learnt and chosen on "
        f"{told['questions']} validation questions, judged on {told['questions']} test questions by look-up; a right answer is worth "
        f"{told['trade']:g} mean costs of the best single model. All {len(lines)} fixed pipelines are played. `may stop` is fitted Q on the same trees, which "
        "ends when it has an answer.\n"
    )
    print("| policy | in sample, % | test, % | USD / 1,000 | hierrouter minus it |\n|---|---|---|---|---|")
    base = np.mean([run["test"]["right"] for run in told["hierrouter"]], axis=0)

    def row(name: str, inside: float | None, scores: Any, usd: Any) -> None:
        less = "" if name.startswith("hierrouter") else interval(base - np.asarray(scores))
        shown = "" if inside is None else f"{100 * inside:.1f}"
        print(f"| {name} | {shown} | {100 * np.mean(scores):.1f} | {1000 * np.mean(usd):.3g} | {less} |")

    for name in ("hierrouter", "may stop"):
        runs = told[name]
        inside = float(np.mean([np.mean(r["in_sample"]["right"]) for r in runs]))
        scores = np.mean([r["test"]["right"] for r in runs], axis=0)
        row(f"{name}, {len(runs)} seeds", inside, scores, np.mean([r["test"]["usd"] for r in runs], axis=0))
    row(f"best single model, {best}", None, told["single"][best]["right"], told["single"][best]["usd"])
    row(f"best pipeline on validation, {chosen['name']}", chosen["in_sample"], chosen["right"], chosen["usd"])
    row(
        f"best pipeline on test, chosen after the fact, {after['name']}",
        after["in_sample"],
        after["right"],
        after["usd"],
    )
    best_repeat = max(repeats, key=lambda p: p["in_sample"])
    row(
        f"one model refining, {best_repeat['name']}", best_repeat["in_sample"], best_repeat["right"], best_repeat["usd"]
    )
    ratio = np.mean(base) / max(single.values())
    print(
        f"\nIts ratio to the best single model of its pool is {ratio:.1f} (the paper reports up to 2.4 over individual models of its own)."
    )
    asked = np.sum([r["test"]["asked"] for r in told["hierrouter"]], axis=0)
    share = ", ".join(f"{m} {100 * a / asked.sum():.0f}%" for m, a in zip(told["models"], asked, strict=True))
    print(f"Calls by model, all seeds: {share}.")


def newcomer(told: dict[str, Any]) -> None:
    rows = told["rows"]
    levels = list(dict.fromkeys(row["probes"] for row in rows))
    base = np.mean([row["right"] for row in rows if row["probes"] == "without"], axis=0)
    seeds = len({row["seed"] for row in rows})
    print(
        f"\n### A model that training never saw\n\nTrained without `{told['new']}`, {seeds} seeds, which then joins by its price and so many plain "
        f"questions; live on {len(base)} of the test questions.\n"
    )
    print(
        f"| probes | right, % | USD / 1,000 | calls of {told['new']} | minus the policy without it |\n|---|---|---|---|---|"
    )
    for level in levels:
        found = [row for row in rows if row["probes"] == level]
        scores = np.mean([row["right"] for row in found], axis=0)
        usd, share = np.mean([np.mean(row["usd"]) for row in found]), np.mean([row["share"] for row in found])
        less = "" if level == "without" else interval(scores - base)
        print(f"| {level} | {100 * scores.mean():.1f} | {1000 * usd:.3g} | {100 * share:.0f}% | {less} |")


def main() -> None:
    folder = Path(sys.argv[1])
    told = json.loads((folder / "live.json").read_text())
    print("\n## Relay\n")
    print(
        f"Written by `recipes/hops_lab/page.py` ({told['made']['date']}, {told['made']['device']}); [recipes/hops_lab](../recipes/hops_lab/README.md) has the "
        "commands, [relay](concepts/relay.md) says how it works. Everything here is of the lab: tiny models and generated questions."
    )
    live(told)
    trained(folder)
    if (folder / "hier.json").is_file():
        hier(json.loads((folder / "hier.json").read_text()))
    if (folder / "newcomer.json").is_file():
        newcomer(json.loads((folder / "newcomer.json").read_text()))


if __name__ == "__main__":
    main()
