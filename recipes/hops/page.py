"""Write the section *Hops* of docs/results.md: `python recipes/hops/page.py FILE... >> docs/results.md`.

FILEs are reports of `routewright evaluate`, the main one first, and what `trainers.py` and `against_sb3.py` wrote.

Every number comes from the reports; only the prose is fixed.
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
        "other are not recorded."
    )


def trainers(found: Block, page: Any) -> None:
    print(f"\n{found['made']['date']}, {found['made']['device']}:\n")
    page.header(
        "table", "method", "in sample", "out of fold", "minus the cascade", "deals", "CPU s a fit", "ms a decision"
    )
    for table, part in found["tables"].items():
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
    print("\n#### PPO beside MaskablePPO\n")
    print(
        f"{found['table']}, {found['models']} models, one fold held out, {len(found['rows']['tree'])} deal(s), one thread "
        f"({found['made']['date']}, {found['made']['device']}). The return is on the held-out fold, as above. MaskablePPO sees the "
        "observation of the Gymnasium face, ours the chances: not the same inputs, and not the same steps.\n"
    )
    page.header("learner", "return", "steps", "CPU s", "steps a CPU s")
    for name, rows in found["rows"].items():
        gained, steps, cpu = (sum(r[key] for r in rows) / len(rows) for key in ("return", "steps", "cpu_s"))
        rest = (f"{steps:.0f}", f"{cpu:.1f}", f"{steps / cpu:.0f}") if steps else ("", f"{cpu:.2f}", "")
        page.row(name, f"{100 * gained:.1f}", *rest)


def main() -> None:
    page = shared()
    found = [json.loads(Path(p).read_text(encoding="utf-8")) for p in sys.argv[1:]]
    report, *small = [f for f in found if "pooled" in f]
    trained, theirs = [f for f in found if "grid" in f], [f for f in found if "rows" in f]
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
    if trained:
        print("\n### The trainers, and what each part is worth\n")
        explain(trained[0])
    for one in trained:
        trainers(one, page)
    for one in theirs:
        beside(one, page)
    for one in small:
        print(f"\n### Pools of eight: {', '.join(one['tables'])}")
        inner = [n for n in names if n in page.every(next(iter(one["tables"].values())))]
        demote(page.gains, one, inner)
        demote(page.differences, one, [n for n in inner if n != "hops"])
        verdict(one, "cascade")


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
