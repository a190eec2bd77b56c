"""The tables of the results, from what `scenarios.py` wrote: `python recipes/graphrouter/page.py out/graphrouter/*.json`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def points(found: dict[str, float]) -> str:
    return f"{100 * found['mean']:+.1f} [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"


def page(tables: list[dict[str, Any]]) -> str:
    """A table a scenario: the reward, and the difference to the best single model; then CPU seconds of a fit."""
    lines: list[str] = []
    head = " | ".join(f"{t['table']} ({t['queries']} of {t['cut_from']} x {t['models']})" for t in tables)
    for scenario in tables[0]["scenarios"]:
        lines += [f"| {scenario}: reward x 100; less the best single model | {head} |", "|---|" + "---|" * len(tables)]
        for label in tables[0]["scenarios"][scenario]:
            cells = []
            for t in tables:
                found = t["scenarios"][scenario][label]
                gap = "" if label == "best single" else f"; {points(found['against_best_single'])}"
                cells.append(f"{100 * found['reward']['mean']:.1f}{gap}")
            lines.append(f"| {label} | {' | '.join(cells)} |")
        lines.append("")
    lines += [f"| CPU seconds of a fit, median | {head} |", "|---|" + "---|" * len(tables)]
    for label in tables[0]["fit_cpu_s"]:
        lines.append(f"| {label} | {' | '.join(f'''{t['fit_cpu_s'][label]:.2f}''' for t in tables)} |")
    lines.append(f"| peak memory of the process, MiB | {' | '.join(f'''{t['peak_mib']:.0f}''' for t in tables)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("files", type=Path, nargs="+")
    print(page([json.loads(path.read_text(encoding="utf-8")) for path in parser.parse_args().files]))
