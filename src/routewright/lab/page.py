"""The demonstration as one self-contained HTML page: the verdict, the table, the frontier, the traces.

`render` takes the facts that `demo.compare` makes and the episodes that were shown. Not here: any measuring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from routewright.evaluate.plots import Cast, FrontierPlot
from routewright.evaluate.wording import interval_text, number, percent, usd
from routewright.lab.demo import COORDINATOR, told
from routewright.lab.families import Question
from routewright.lab.roster import ROSTER, vocabulary
from routewright.policies.plan_text import answer_text
from routewright.types import Episode

PARTS = ("simple", "composed", "all")


def render(facts: Mapping[str, Any], shown: Sequence[tuple[Question, Episode, bool]], made: Mapping[str, Any]) -> str:
    """The page.

    Args:
        facts: What `compare` found.
        shown: Questions asked one by one, what was done, and whether the answer was right.
        made: How: command, version, date, device.
    """
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("routewright.lab", "templates"), PackageLoader("routewright.evaluate", "templates")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "usd": usd, "interval": interval_text}
    size = len(vocabulary())
    return environment.get_template("lab.html.j2").render(
        facts=facts,
        parts=PARTS,
        coordinator=COORDINATOR,
        verdict=verdict(facts),
        plot=_plot(facts),
        traces=[
            {
                "question": question.text,
                "gold": question.answer,
                "answer": answer_text(episode.answer),
                "right": right,
                "cost_usd": episode.cost_usd,
                "latency_s": episode.latency_s,
                "lines": [line for step in episode.steps for line in told(step)],
            }
            for question, episode, right in shown
        ],
        models=[
            {"name": name, "about": ROSTER[name].about, "parameters": ROSTER[name].parameters(size)}
            for name in ROSTER
            if name in facts["rows"] or name in facts["collapse"]["share"]
        ],
        made=made,
    )


def verdict(facts: Mapping[str, Any]) -> list[str]:
    """One or two sentences that claim no more than the interval allows."""
    gap = interval_text(facts["difference"])
    best, ratio = facts["best_single"], facts["cost_ratio"]
    low, high = facts["difference"]["low"], facts["difference"]["high"]
    word = "more" if low > 0 else "fewer" if high < 0 else "not provably more or fewer"
    cost = f"{ratio:.2g} times the cost" if ratio >= 1 else f"{percent(ratio)} of the cost"
    return [
        f"The coordinator answers {word} questions right than {best}, the best single model: {gap['mean']} points "
        f"({gap['range']}), at {cost}.",
        f"{number(facts['questions'])} test questions, {number(facts['composed'])} of them composed; every call is charged, "
        "the coordinator's own too. These are tiny models on generated questions: a lab, not a forecast for large ones.",
    ]


def _plot(facts: Mapping[str, Any]) -> dict[str, Any]:
    block = {
        "controls": {
            "line": facts["line"],
            "oracle": _mark(facts["rows"]["oracle of one call"]["all"]),
            "task_oracle": {k: {"mean": v} for k, v in facts["task_oracle"].items()},
        },
        "singles": facts["singles"],
    }
    cast = Cast([COORDINATOR], [COORDINATOR], COORDINATOR, {COORDINATOR: ("c0", "")})
    frontier = sorted(facts["frontier"], key=lambda p: float(p["cost_usd"]))
    return FrontierPlot(cast, block, {COORDINATOR: frontier}, 0).draw()


def _mark(row: Mapping[str, float]) -> dict[str, dict[str, float]]:
    return {"quality": {"mean": row["mean"]}, "cost_usd": {"mean": row["cost_usd"]}}
