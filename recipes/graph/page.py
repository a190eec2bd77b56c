"""Write results.md: `python recipes/graph/page.py NEWCOMER.json [REPORT.json...] > recipes/graph/results.md`.

Every number on the page comes from the files; only the prose is fixed. A report is one that `routewright evaluate` wrote.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

POLICIES = ("graph", "knn", "task_mean", "blind", "fixed")


def points(value: dict[str, float]) -> str:
    """`+1.9 [+1.2, +2.8]`."""
    return f"{100 * value['mean']:+.1f} [{100 * value['low']:+.1f}, {100 * value['high']:+.1f}]"


def verdict(low: float, high: float) -> str:
    """What an interval of a difference of errors says."""
    return "better" if high < 0 else "worse" if low > 0 else "no difference"


def routed(reports: list[dict[str, Any]]) -> None:
    """Gain over the line between single models, a row a table."""
    print("## As a router\n")
    print("| table | " + " | ".join(p + ("*" if p == "task_mean" else "") for p in POLICIES) + " |")
    print("|---|" + "---|" * len(POLICIES))
    for report in reports:
        for name, part in report["tables"].items():
            controls = {k: v for k, v in part["controls"].items() if isinstance(v, dict) and "gain_over_line" in v}
            found = {**controls, **part["policies"]}
            cells = [points(found[p]["gain_over_line"]) if p in found else "-" for p in POLICIES]
            print(f"| {name} | " + " | ".join(cells) + " |")
    made, settings = reports[0]["made"], reports[0]["settings"]
    print(
        f"\nGain in points over the line between single models at equal cost, paired 95% interval; {made['date']}, "
        f"{settings['seeds']} seeds, {settings['folds']} folds. `fixed` is the best constant. `*` reads the task label.\n"
    )


def joined(rows: list[dict[str, Any]]) -> None:
    """Newcomers, a row a table and number of outcomes."""
    print("## Models that training left out\n")
    print("| table | models | outcomes | mean of them | `graph` | trained on the model too | difference | |")
    print("|---|---|---|---|---|---|---|---|")
    for r in rows:
        low, high = r["interval"]
        print(
            f"| {r['table']} | {r['models']} | {r['probes']} | {r['mean_of_probes']:.4f} | {r['newcomer']:.4f} | "
            f"{r['trained_on_it']:.4f} | {r['difference']:+.4f} [{low:+.4f}, {high:+.4f}] | {verdict(low, high)} |"
        )
    print(
        f"\nMean squared error per query, {rows[0]['seeds']} seeds. The difference is `graph` less the mean of the same outcomes,"
        " with a 95% interval over models; below 0 is better."
    )


if __name__ == "__main__":
    print("# The policy `graph`, measured\n")
    if sys.argv[2:]:
        routed([json.loads(Path(p).read_text(encoding="utf-8")) for p in sys.argv[2:]])
    joined(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
