"""The table of the results, from what `designs.py` wrote: `python recipes/route_profile/page.py out/route_profile/*.json`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ROUTERS = ("sim", "mlp", "graph")


def points(found: dict[str, float]) -> str:
    return f"{100 * found['mean']:+.1f} [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"


def page(tables: list[dict[str, Any]]) -> str:
    """Findings, then every design and router: score, and the difference to the best constant."""
    head = " | ".join(f"{t['table']} ({t['queries']} of {t['cut_from']} x {t['models']})" for t in tables)
    rule = "---|" * len(tables)
    lines = [f"| points | {head} |", f"|---|{rule}"]
    lines += [
        f"| {name} | {' | '.join(points(t['findings'][name]) for t in tables)} |" for name in tables[0]["findings"]
    ]
    lines += ["", f"| score; less the best constant, points | {head} |", f"|---|{rule}"]
    plain = [label for label in tables[0]["scores"] if ": " not in label]
    lines += [f"| {label} | {' | '.join(_cell(t, label) for t in tables)} |" for label in plain]
    designs = list(dict.fromkeys(label.rpartition(": ")[0] for label in tables[0]["scores"] if ": " in label))
    for design in designs:
        for router in [r for r in ROUTERS if f"{design}: {r}" in tables[0]["scores"]]:
            label = f"{design}: {router}"
            lines.append(f"| {label} | {' | '.join(_cell(t, label) for t in tables)} |")
    return "\n".join(lines)


def _cell(table: dict[str, Any], label: str) -> str:
    gap = "" if label == "best constant" else f"; {points(table['against_constant'][label])}"
    return f"{100 * table['scores'][label]['mean']:.1f}{gap}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("files", type=Path, nargs="+")
    print(page([json.loads(path.read_text(encoding="utf-8")) for path in parser.parse_args().files]))
