"""Write the section *Hops* of docs/results.md: `python recipes/hops/page.py FILE... >> docs/results.md`.

FILEs are reports of `routewright evaluate`, the main one first, and what `trainers.py`, `newcomer.py`, `budgets.py` and `python -m
benchmarks hops` wrote. Without a report it writes the parts that the others give.

Every number comes from the files; only the prose is fixed.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

Block = dict[str, Any]
POLICIES = ("hops", "hops-one-class", "cascade", "cascade-verifier", "routewright")
AIMS = {  # accuracy in percent at USD per 1,000 queries, set before anything was measured
    "gsm8k": ((96.7, 0.20), (97.6, 0.60)),
    "crux": ((85.9, 1.80), (87.2, 4.0)),
    "math_l5": ((68.1, 2.10), (72.5, 5.16)),
    "bfcl_v1": ((91.6, 0.20), (93.5, 0.85)),
    "routerbench_arc": ((94.4, 1.90),),
}


def shared() -> Any:
    """The tables of the cascades' page, which are the same."""
    path = Path(__file__).resolve().parents[1] / "cascades" / "page.py"
    spec = importlib.util.spec_from_file_location("cascades_page", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def head(report: Block, page: Any) -> None:
    made, settings = report["made"], report["settings"]
    print("\n## Hops\n")
    print(
        f"Written by `recipes/hops/page.py` from reports of {made['date']} ({made['device']}; {settings['seeds']} seeds, "
        f"{settings['folds']} folds, {settings['draws']} bootstrap draws); [recipes/hops](../recipes/hops/README.md) has the "
        "commands. `hops` plans over classes of queries ([how](concepts/hops.md)); `hops-one-class` is the same without classes: "
        "models err independently. `cascade` is the fitted list, the baseline; every call is charged, every query out of fold. "
        "HierRouter's own setting, self-refinement and pipelines of calls that see each other are not recorded in these tables."
    )


def verdict(report: Block, other: str) -> None:
    """On which tables the paired interval at equal cost is above zero, and below."""
    found = {name: part["comparisons"]["others"][other]["difference"] for name, part in report["tables"].items()}
    above = [name for name, d in found.items() if d["low"] > 0]
    below = [name for name, d in found.items() if d["high"] < 0]
    print(
        f"\nAt equal cost hops minus {other}, 95% interval above zero on {len(above)} of {len(found)} tables"
        f"{': ' + ', '.join(above) if above else ''}; below zero on {len(below)}{': ' + ', '.join(below) if below else ''}."
    )


def aims(report: Block, page: Any, names: list[str]) -> None:
    print("\n### Distance to the aims\n")
    print(
        "Accuracy of each curve, in percent, at the cost of an aim (USD per 1,000 queries), neighbouring trade-offs mixed; the "
        "aims were set beforehand.\n"
    )
    page.header("table", "aim", *names, "hops less the aim")
    reached = asked = 0
    for table, wanted in AIMS.items():
        if table not in report["tables"]:
            continue
        curves = {n: page.every(report["tables"][table])[n]["frontier"] for n in names}
        for quality, cost in wanted:
            read = {n: page.quality_at(curve, cost / 1000) for n, curve in curves.items()}
            mine = read["hops"]
            asked += 1
            reached += mine is not None and 100 * mine >= quality
            cells = ["-" if q is None else f"{100 * q:.1f}" for q in read.values()]
            page.row(table, f"{quality} @ {cost:.2f}", *cells, "-" if mine is None else f"{100 * mine - quality:+.1f}")
    print(f"\nReached: {reached} of {asked} aims.")


def explain(found: Block) -> None:
    print(
        f"Mean return, (value * quality - cost) / (value + cost of the best single model), times 100, over "
        f"{len(found['grid'])} trade-offs from {found['grid'][0]:g} to {found['grid'][-1]:g} of that cost, fixed beforehand; "
        f"{found['folds']} folds, as many deals as said. In sample: on the queries it was fitted on, one fold a deal. The difference is to the "
        "cascade on the same queries, deals and trade-offs, with a 95% bootstrap interval over queries. `hierrouter` is its "
        "setting on independent answers: three calls, no stop, the last reply stands; its pipelines of calls that see each "
        "other are not recorded. `no replies`: a plan is one fixed list for every trade-off, a head knows the chances from before the first "
        "reply; `no forecasts`: a head has counts of who agrees and each model's mean score (a plan without them is the cascade); `no trade-off`: "
        "everything is decided for the middle one, ten times that cost. Of the heads all but `ppo` itself are without warm start. A decision is in wall-clock time, which other work on the machine lengthened in all tables but the first."
    )


def trainers(found: Block, page: Any) -> None:
    print(f"\n{found['made']['date']}, {found['made']['device']}:\n")
    page.header(
        "table", "method", "in sample", "out of fold", "minus the cascade", "deals", "CPU s a fit", "ms a decision"
    )
    for table, part in found["tables"].items():
        if len(part["methods"]) < 2:
            continue  # nothing but the baseline was finished
        for k, (name, row) in enumerate(part["methods"].items()):
            page.row(
                f"{table}, {part['queries']} x {part['models']}" if k == 0 else "",
                name,
                f"{100 * row['in_sample']:.1f}",
                f"{100 * row['return']:.1f}",
                finer(row["difference"]) if name != "cascade" else "",
                str(len(row["deals"])),
                f"{row['fit_s']:.2g}",
                f"{row['decision_ms']:.2f}",
            )
    for name in dict.fromkeys(n for part in found["tables"].values() for n in part["methods"] if n != "cascade"):
        rows = {
            t: part["methods"][name]["difference"] for t, part in found["tables"].items() if name in part["methods"]
        }
        above = [t for t, d in rows.items() if d["low"] > 0]
        below = [t for t, d in rows.items() if d["high"] < 0]
        print(
            f"\n`{name}`: interval above zero on {', '.join(above) or 'none'}; below zero on {', '.join(below) or 'none'}; of "
            f"{len(rows)} tables."
        )


def finer(value: Block) -> str:
    """`+0.45 [+0.14, +0.77]`, in hundredths of return."""
    return f"{100 * value['mean']:+.2f} [{100 * value['low']:+.2f}, {100 * value['high']:+.2f}]"


def beside(found: Block, page: Any) -> None:
    """Our PPO and somebody else's."""
    print("\n### PPO beside MaskablePPO\n")
    print(
        f"`python -m benchmarks hops` ({found['date']}, {found['device']}, one thread, load {found['load']:.1f}): the same features, "
        "masks and rewards, as many decisions, both from nothing, each the best it met on queries held back. `known` is a world of four "
        "models drawn from known classes, `crux` the pool of eight. Return on unseen queries times 100, over 12 trade-offs; converged: CPU "
        "seconds until the held-out return came within 0.003 of the best it met; MaskablePPO is looked at after every 8,192 decisions, ours after "
        "every batch."
    )
    print()
    page.header(
        "world", "learner", "return", "decisions", "decisions a CPU s", "converged, CPU s", "peak MiB", "ours less it"
    )
    for where in (key for key in ("known", "crux") if key in found):
        one = found[where]
        for k, (who, rows) in enumerate(one["rows"].items()):
            gained = sum(r["return"] for r in rows) / len(rows)
            cells = ["", "", "", ""]
            if "cpu_s" in rows[0]:
                made = sum(r["decisions"] for r in rows) / len(rows)
                cells = [
                    f"{made:.0f}",
                    f"{one['steps_per_cpu_s'][who]:.0f}",
                    f"{sum(converged(r['curve']) for r in rows) / len(rows):.1f}",
                    f"{one['peak_mib'][who]:.0f}",
                ]
            less = "" if who == "ours" else finer(one[f"ours_minus_{who}"])
            less = less.split(" [")[0] if len(rows) < LEAST_MEANT else less
            page.row(f"{where}, {len(rows)} seeds" if k == 0 else "", who, f"{100 * gained:.2f}", *cells, less)
    print(
        "\nIntervals are Student's t over seeds, where there are at least three. The plan is made on the same classes, which takes under a second."
    )


LEAST_MEANT = 3  # seeds below which an interval over seeds says nothing


def converged(curve: list[list[float]]) -> float:
    """CPU seconds until the held-out return is within 0.003 of the best; points are (decisions, CPU seconds, return)."""
    best = max(point[2] for point in curve)
    return next(point[1] for point in curve if point[2] >= best - 0.003)


def newcomers(found: Block, page: Any) -> None:
    """What probes are worth."""
    print("\n### A model that joins\n")
    print(
        f"{found['made']['date']}, {found['made']['device']}. The plan over the whole pool is fitted on four folds; the models it asks "
        "most there are left out one at a time, then added by their card and 0, 20 or 50 of the training queries "
        "(`recipes/hops/newcomer.py`). Return times 100 on the fifth fold, mean over the trade-offs, the models left out and the deals, "
        "less that without the model; 95% bootstrap intervals over queries. Models that the plan never asks change nothing when they are "
        "left out; those it asks less than these were not tried."
    )
    print()
    arms = list(next(iter(found["newcomers"].values()))["gains"])
    page.header(
        "table", "models left out, of calls", "without", *arms, "50 probes less fitted on all", "deals", "CPU s to add"
    )
    for table, one in found["newcomers"].items():
        page.row(
            f"{table}, {one['queries']} x {one['models']}",
            f"{one['left_out']}, {100 * one['share_of_calls']:.0f}%",
            f"{100 * one['without']:.1f}",
            *(finer(one["gains"][arm]) for arm in arms),
            finer(one["to_fitted_on_all"]["added, 50 probes"]),
            str(len(one["deals"])),
            f"{one['add_s']:.1f}",
        )
    print("\nOf a fold's calls, those that went to the models left out, all of them together.")


def budgets(found: Block, page: Any) -> None:
    """Plans that have to do with less."""
    print("\n### Under budgets\n")
    print(
        f"{found['made']['date']}, {found['made']['device']}. No episode may spend more than so many mean costs of the best single model "
        "(`recipes/hops/budgets.py`; five folds). Return times 100, mean over the trade-offs: of the plan, which takes its next best action "
        "where the best does not fit, of the same falling back at once to what there is, and of the fitted cascade."
    )
    print()
    page.header(
        "table", "budget", "plan", "falling back", "cascade", "plan less falling back", "plan less cascade", "deals"
    )
    for table, one in found["budgets"].items():
        for k, row in enumerate(one["rows"]):
            page.row(
                table if k == 0 else "",
                f"{row['budget']:g}",
                *(f"{100 * value:.1f}" for value in row["return"]),
                finer(row["minus_falling"]),
                finer(row["minus_cascade"]),
                str(one["deals"]),
            )


def main() -> None:
    page = shared()
    found = [json.loads(Path(p).read_text(encoding="utf-8")) for p in sys.argv[1:]]
    reports = [f for f in found if "pooled" in f]
    if reports:
        judged(reports[0], page)
    trained = [f for f in found if "grid" in f]
    if trained:
        print("\n### The trainers, and what each part is worth\n")
        explain(trained[0])
    for one in trained:
        trainers(one, page)
    for key, write in (("known", beside), ("newcomers", newcomers), ("budgets", budgets)):
        for one in (f for f in found if key in f):
            write(one, page)
    for one in reports[1:]:
        print(f"\n### Pools of eight: {', '.join(one['tables'])}")
        inner = [n for n in POLICIES if n in page.every(next(iter(one["tables"].values())))]
        demote(page.gains, one, inner)
        demote(page.differences, one, [n for n in inner if n != "hops"])
        verdict(one, "cascade")


def judged(report: Block, page: Any) -> None:
    """What the main report says."""
    known = page.every(next(iter(report["tables"].values())))
    names = [n for n in POLICIES if n in known]
    head(report, page)
    page.gains(report, [*names, "vote3", "blind"])
    page.differences(report, [n for n in [*names, "vote3", "blind"] if n != "hops"])
    for other in names:
        if other.startswith("cascade"):
            verdict(report, other)
    page.savings(report, names)
    page.frontiers(report, names)
    aims(report, page, names)


def demote(write: Any, report: Block, names: list[str]) -> None:
    """Write a part one level lower."""
    import contextlib
    import io

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        write(report, names)
    print(text.getvalue().replace("\n### ", "\n#### "), end="")


if __name__ == "__main__":
    main()
