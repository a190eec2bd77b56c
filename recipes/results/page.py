"""Write docs/results.md: `python recipes/results/page.py REPORT.json [REPORT_OF_ANOTHER_ENCODER.json] > docs/results.md`.

Every number on the page comes from the report; only the prose is fixed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

READS_LABEL = "task_mean"
IGNORE_TEXT = ("blind", "random", "fixed", "cheapest", "elo")


INTRODUCTION = """\
On recorded outcomes of real models; at the end, on [the lab's tiny ones](#the-lab), by hops that read each other ([relay](#relay)) and by
[a router that is a language model](#router-r1) there, on [preferences](#preferences) in words, and on [new models](#new-models)."""


def points(value: dict[str, float]) -> str:
    """`+1.9 [+1.2, +2.8]`."""
    return f"{100 * value['mean']:+.1f} [{100 * value['low']:+.1f}, {100 * value['high']:+.1f}]"


def every(part: dict[str, Any]) -> dict[str, Any]:
    """Policies and the controls that are policies."""
    found = {k: v for k, v in part["controls"].items() if isinstance(v, dict) and "gain_over_line" in v}
    return {**found, **part["policies"]}


def saving(policy: dict[str, Any]) -> str:
    """Saving in %, with the quality kept and what the line alone saves."""
    at = policy["operating_point"]
    kept = 100 * at["difference_to_best_single"]["mean"]
    proven = policy["saving_at_best_single"]
    what = f"{100 * proven['mean']:.0f}%" if proven is not None else f"not proven ({100 * at['saving']['mean']:.0f}%)"
    return f"{what}, kept {kept:+.1f}, line {100 * at['line_saving']:.0f}%"


def verdict(part: dict[str, Any]) -> tuple[str, str]:
    """Whom the reference beats significantly, and whom it loses to."""
    others = part["comparisons"]["others"]
    beaten = [k for k, v in others.items() if v["better"] and k not in IGNORE_TEXT]
    lost = [k + ("*" if k == READS_LABEL else "") for k, v in others.items() if v["worse"]]
    return ", ".join(beaten) or "nobody", ", ".join(lost) or "nobody"


def sections(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every table, and the pooled figures last."""
    return [*report["tables"].items(), (f"**pooled** ({report['pooled']['kind']})", report)]


def head(report: dict[str, Any]) -> None:
    """Title, and how the figures came about."""
    made, settings = report["made"], report["settings"]
    print("# Results\n")
    print(INTRODUCTION + "\n")
    print(
        f"Written by `recipes/results/page.py` from a report of {made['date']} ({made['device']}; {settings['seeds']} seeds, "
        f"{settings['folds']} folds, {settings['draws']} bootstrap draws, encoder {settings['encoder']['kind']}, routewright "
        f"{report['routewright']}). The tables are kept outside the repository; [recipes/results](../recipes/results/README.md)"
        " has the command. How the figures are made, and what they refuse to claim: [judging](concepts/judging.md). The same"
        " tables chose the default policy's design ([how](../recipes/default/README.md)), so its figures are slightly optimistic.\n"
    )
    print(
        "`gain` is quality above the line between single models at equal cost, in points, with a paired 95% interval over"
    )
    print(
        "queries and seeds; a router that ignores the query has 0. `*` reads the task label, which live traffic lacks.\n"
    )


def gains(report: dict[str, Any]) -> None:
    """The default against the others."""
    print("## The default against the others, table by table\n")
    print(
        "| table | queries x models | routewright | best other without labels | knn | kmeans | mf | task_mean* | blind |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, part in sections(report):
        found = {k: v["gain_over_line"] for k, v in every(part).items()}
        rivals = {k: v for k, v in found.items() if k not in ("routewright", READS_LABEL)}
        best = max(rivals, key=lambda k: rivals[k]["mean"])
        size = f"{part['queries']} x {len(part['models'])}" if "models" in part else str(part["pooled"]["queries"])
        cells = [points(found["routewright"]), f"{best} {points(rivals[best])}"]
        cells += [points(found[k]) for k in ("knn", "kmeans", "mf", READS_LABEL, "blind")]
        print(f"| {name} | {size} | " + " | ".join(cells) + " |")


def verdicts(report: dict[str, Any]) -> None:
    """Whom it beats, whom it loses to."""
    print("\n## Whom it beats, whom it loses to\n")
    print(
        "Paired differences of gain on the same draws. *Better*: Holm-corrected one-sided p below 0.05. *Worse*: the whole 95% "
        "interval of the difference below zero, uncorrected. Controls that ignore the text are left out of the first column.\n"
    )
    print("| table | significantly better than | significantly worse than |")
    print("|---|---|---|")
    for name, part in sections(report):
        beaten, lost = verdict(part)
        print(f"| {name} | {beaten} | {lost} |")


def savings(report: dict[str, Any]) -> None:
    """Savings, with the quality kept, the line's saving and the source of the costs."""
    print("\n## Savings at the best single model's quality\n")
    print(
        "At the operating point that validation says keeps the best single model's quality: cost saved, points of quality "
        "kept on test queries, and what mixing single models saves at that quality. `not proven`: the lower bound of the kept "
        f"quality is below -{report['settings']['kept_points']:g} point. Beside it the source of the costs: where it is a "
        "price table, a saving is one at those prices. Best single and oracle: accuracy @ USD per 1,000 queries.\n"
    )
    print("| table | best single | oracle | routewright | ridge | knn | kmeans | cost from |")
    print("|---|---|---|---|---|---|---|---|")
    for name, part in sections(report):
        rows, controls = every(part), part["controls"]
        cells = [
            f"{100 * controls[k]['quality']['mean']:.1f}% @ {1000 * controls[k]['cost_usd']['mean']:.3g}"
            for k in ("best_single", "oracle")
        ]
        cells += [saving(rows[k]) for k in ("routewright", "ridge", "knn", "kmeans")]
        print(f"| {name} | " + " | ".join(cells) + f" | {part.get('cost_source', 'as above')} |")


def all_policies(report: dict[str, Any]) -> None:
    """Every policy on what is pooled."""
    print("\n## All policies, pooled\n")
    print("| policy | gain | AIQ | gap closed | saving | entropy of calls, bits |")
    print("|---|---|---|---|---|---|")
    for name, policy in sorted(every(report).items(), key=lambda item: -item[1]["gain_over_line"]["mean"]):
        mark = "*" if name == READS_LABEL else ""
        print(
            f"| {name}{mark} | {points(policy['gain_over_line'])} | {policy['aiq']['mean']:.3f} | "
            f"{100 * policy['gap_closed']['mean']:+.0f}% | {saving(policy)} | {policy['collapse']['entropy_bits']:.2f} |"
        )


def two_models(report: dict[str, Any]) -> None:
    """RouteLLM's measures where there are two models."""
    print("\n## Two-model pools, in RouteLLM's measures\n")
    print("APGR (0.5: random order), and the share of strong calls that recovers 50 and 80% of the gap.\n")
    print("| table | policy | APGR | CPT(50) | CPT(80) |")
    print("|---|---|---|---|---|")
    for name, part in report["tables"].items():
        if len(part["models"]) == 2:
            for policy in ("routewright", "ridge", "knn", "kmeans", "mf", "irt", "gbdt"):
                pair = every(part)[policy]["pair"]
                shares = f"{100 * pair['cpt50']:.1f}% | {100 * pair['cpt80']:.1f}%"
                print(f"| {name} | {policy} | {pair['apgr']:.3f} | {shares} |")


def cost_forecasts(report: dict[str, Any]) -> None:
    """Errors of forecast costs, only where the completions are real."""
    print("\n## Cost forecasts where completions are real\n")
    print(
        "Mean |log(forecast / real cost)| per query and model: 0.1 is about 10%. `blind` forecasts each model's mean.\n"
    )
    print("| table | tokens from | ridge on the text | blind |")
    print("|---|---|---|---|")
    for name, part in report["tables"].items():
        if "provider_reported" in part["tokens_source"] or "completion real" in part["tokens_source"]:
            errors = " | ".join(f"{every(part)[k]['cost_log_error']:.3f}" for k in ("ridge", "blind"))
            print(f"| {name} | {part['tokens_source']} | {errors} |")


def encoders(report: dict[str, Any], other: dict[str, Any]) -> None:
    """Gains with another encoder beside the main report's, on the tables that both have."""
    kinds = [r["settings"]["encoder"]["kind"] for r in (report, other)]
    seeds = [r["settings"]["seeds"] for r in (report, other)]
    print(f"\n## With {kinds[1]} vectors\n")
    print(
        f"Gain with `{kinds[0]}` ({seeds[0]} seeds) and with `{kinds[1]}` ({seeds[1]} seeds). Two runs, not a paired "
        "comparison: read a difference against the width of its intervals.\n"
    )
    policies = [p for p in ("routewright", "ridge", "knn", "kmeans") if p in every(other)]
    print("| table | " + " | ".join(f"{p}, {kind}" for p in policies for kind in kinds) + " |")
    print("|---" * (1 + 2 * len(policies)) + "|")
    for name in (n for n in other["tables"] if n in report["tables"]):
        both = [every(r["tables"][name]) for r in (report, other)]
        print(f"| {name} | " + " | ".join(points(rows[p]["gain_over_line"]) for p in policies for rows in both) + " |")


def main() -> None:
    """Print the page; a second report adds the section on its encoder."""
    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for section in (head, gains, verdicts, savings, all_policies, two_models, cost_forecasts):
        section(report)
    if len(sys.argv) > 2:
        encoders(report, json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    print("\n## Notes of the report\n")
    for note in report["notes"]:
        print(f"- {note}")


if __name__ == "__main__":
    main()
