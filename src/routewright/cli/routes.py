"""`routewright routes ...`: a routes file for the policy `preference`: check it, ask it, judge it, calibrate it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routewright.cli.show import console, listing, progress, usd

if TYPE_CHECKING:
    from routewright.policies.preference import Preference
    from routewright.policies.preference_eval import Found, Judged, Labelled
    from routewright.pools.pool import Pool
    from routewright.types import Query

_ALIKE = {"minilm": 0.7, "hashing": 0.5, "hybrid": 0.6}  # cosine of two descriptions above which they overlap
routes = typer.Typer(no_args_is_help=True, help="Routes described in words, for the policy preference.")
File = Annotated[Path, typer.Argument(metavar="FILE", help="Routes file, TOML.")]
Encoder = Annotated[str, typer.Option(help="Encoder of the backend embedding.")]
Backend = Annotated[str, typer.Option(help="Who finds the route: embedding, or model.")]
PoolFile = Annotated[Path | None, typer.Option(help="Pool file; needed by the backend model.")]
Model = Annotated[str, typer.Option(help="Model of the pool that names the route, of the backend model.")]
Calibration = Annotated[str, typer.Option(help="File of `routes fit` [default: the one that ships].")]


@routes.command()
def check(
    file: File,
    pool: Annotated[Path | None, typer.Option(help="Pool file: are all models in it?")] = None,
    encoder: Encoder = "hashing",
    alike: Annotated[
        float, typer.Option(min=0, max=1, help="Cosine of two descriptions that counts as an overlap; 0: by encoder.")
    ] = 0.0,
) -> None:
    """Say what is wrong with a routes file, and which routes are too alike; exit code 1 if any are."""
    from routewright.policies.preference_match import Matcher
    from routewright.policies.routes import OTHER, read_routes
    from routewright.pools.config import read_pool

    read = read_routes(file)
    if pool is not None:
        read.check([entry.name for entry in read_pool(pool).models])
    near = Matcher(read, encoder).alike()
    limit = alike or _ALIKE.get(encoder, 0.7)
    table = listing("route", "models", "rule", "examples", "most like", "cosine")
    overlaps: list[str] = []
    for at, route in enumerate(read.routes):
        others = [(float(near[at, i]), other.name) for i, other in enumerate(read.routes) if i != at]
        cosine, name = max(others, default=(0.0, "-"))
        table.add_row(route.name, ", ".join(route.models), route.rule, str(len(route.examples)), name, f"{cosine:.2f}")
        overlaps += [
            f"{route.name} and {other.name} are alike (cosine {near[at, i]:.2f}, expected below {limit:.2f}): say in their "
            "descriptions what tells them apart, or make them one."
            for i, other in enumerate(read.routes)
            if i > at and near[at, i] >= limit
        ]
    table.add_row(OTHER, ", ".join(read.other.models), read.other.rule, str(len(read.other.examples)), "-", "-")
    console.print(table)
    for line in overlaps:
        console.print(line)
    bare = [route.name for route in read.routes if not route.examples]
    if bare:
        console.print(f"Without examples, which help the backend embedding: {', '.join(bare)}.")
    console.print(f"{len(read.routes)} routes, {len(overlaps)} overlap{'s' if len(overlaps) != 1 else ''}.")
    if overlaps:
        raise typer.Exit(1)


@routes.command()
def ask(
    file: File,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A request.")],
    backend: Backend = "embedding",
    encoder: Encoder = "hashing",
    calibration: Calibration = "",
    pool: PoolFile = None,
    model: Model = "",
) -> None:
    """Find the route of one request and say why. Nothing is answered."""
    from routewright.policies.preference_turns import turns
    from routewright.types import Query

    policy = _policy(file, backend, encoder, calibration, model)
    if policy.matcher is None:
        found = asyncio.run(_by_model(policy, [Query(text)], pool))[0]
        console.print(f"{found.why}; {found.latency_s or 0:.2f} s, {usd(found.cost_usd)} USD")
        name = found.route
    else:
        match = policy.matcher.match(turns(Query(text), policy.config.last_tokens))
        table = listing("", "route", "score")
        for route, score in match.scores.items():
            table.add_row(">" if route == match.route else "", route, f"{score:.3f}")
        console.print(table)
        assert policy.matcher.calibration is not None
        console.print(match.said(policy.matcher.calibration.threshold))
        name = match.route
    target = policy.routes.target(name)
    console.print(f"goes to {', '.join(target.models)} ({target.rule})")


@routes.command("eval")
def judge_file(
    file: File,
    labelled: Annotated[Path, typer.Argument(metavar="LABELLED", help="Labelled conversations, a JSON object a line.")],
    backend: Backend = "embedding",
    encoder: Encoder = "hashing",
    calibration: Calibration = "",
    pool: PoolFile = None,
    model: Model = "",
    reasons: Annotated[
        Path | None, typer.Option(help="Write every turn's route and reason here, a JSON object a line.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Judge a way of finding routes on labelled conversations: accuracy, confusions, out of scope, latency."""
    from routewright.policies.preference_eval import judge, read_labelled

    policy = _policy(file, backend, encoder, calibration, model)
    conversations = read_labelled(labelled, policy.routes)
    ends = [[i for i, m in enumerate(c.messages) if m.get("role") == "user"] for c in conversations]
    queries = [c.query(end) for c, some in zip(conversations, ends, strict=True) for end in some]
    flat = iter(_by_encoder(policy, queries) if policy.matcher else asyncio.run(_by_model(policy, queries, pool)))
    found = [[next(flat) for _ in some] for some in ends]
    judged = judge(conversations, found)
    if reasons is not None:
        _write(reasons, conversations, found)
    if as_json:
        typer.echo(json.dumps(_facts(judged, found), indent=2))
        return
    _print(judged, found)


@routes.command()
def fit(
    file: File,
    labelled: Annotated[Path, typer.Argument(metavar="LABELLED", help="Labelled conversations, a JSON object a line.")],
    out: Annotated[Path, typer.Option(help="File to write, for the option calibration.")],
    encoder: Encoder = "hashing",
) -> None:
    """Fit the confidence and the threshold of the backend embedding on labelled conversations, cross-validated."""
    from routewright.config import dump
    from routewright.policies.preference_eval import read_labelled
    from routewright.policies.preference_fit import fit_on
    from routewright.policies.routes import read_routes

    read = read_routes(file)
    made = fit_on(read, read_labelled(labelled, read), encoder)
    out.write_text(dump(made) + "\n", encoding="utf-8")
    console.print(
        f"threshold {made.threshold:.2f}; of {made.about['turns']} turns {100 * made.about['cross_validated_accuracy']:.1f}% right, "
        f"calibration error {made.about['cross_validated_calibration_error']:.3f}, cross-validated"
    )


def _policy(file: Path, backend: str, encoder: str, calibration: str, model: str) -> Preference:
    from routewright.policies.base import build_policy
    from routewright.policies.preference import Preference

    options = {"routes": str(file), "backend": backend, "encoder": encoder, "calibration": calibration, "model": model}
    policy = build_policy("preference", options)
    assert isinstance(policy, Preference)
    return policy


def _by_encoder(policy: Preference, queries: Sequence[Query]) -> list[Found]:
    from routewright.policies.preference_eval import Found
    from routewright.policies.preference_turns import turns

    assert policy.matcher is not None
    assert policy.matcher.calibration is not None
    found = []
    for query in queries:
        began = time.perf_counter()
        match = policy.matcher.match(turns(query, policy.config.last_tokens))
        spent = time.perf_counter() - began
        found.append(Found(match.route, match.said(policy.matcher.calibration.threshold), match.confidence, spent))
    return found


async def _by_model(policy: Preference, queries: Sequence[Query], pool: Path | Pool | None) -> list[Found]:
    from routewright.errors import ConfigError
    from routewright.policies.preference_ask import named
    from routewright.pools.pool import load_pool

    if pool is None:
        raise ConfigError("The backend model needs a pool to ask. Expected --pool FILE.")
    opened = load_pool(pool) if isinstance(pool, Path) else pool
    try:
        found = []
        with progress("turns") as bar:
            for number, query in enumerate(queries, 1):
                found.append(await named(policy, opened, query))
                bar(number, len(queries), "")
        return found
    finally:
        await opened.aclose()


def _print(judged: Judged, found: Sequence[Sequence[Found]]) -> None:
    table = listing("right", "turns", "found right", "taken for")
    for label in sorted({right for right, _ in judged.confusion}):
        row = {route: n for (right, route), n in judged.confusion.items() if right == label}
        wrong = sorted(((n, route) for route, n in row.items() if route != label), reverse=True)
        total = sum(row.values())
        table.add_row(
            label,
            str(total),
            f"{100 * row.get(label, 0) / total:.0f}%",
            ", ".join(f"{route} {n}" for n, route in wrong[:5]),
        )
    console.print(table)
    shares = ", ".join(
        f"{name} {100 * getattr(judged, name):.1f}%" for name in ("turn", "span", "conversation", "overall")
    )
    console.print(f"right by {shares}; {judged.turns} turns")
    parts = [("precision", judged.outside_precision), ("recall", judged.outside_recall)]
    console.print("other: " + ", ".join(f"{name} {'-' if v is None else f'{100 * v:.1f}%'}" for name, v in parts))
    if judged.latency_s is not None:
        median, late = judged.latency_s
        console.print(f"a decision: median {1e3 * median:.2f} ms, 95th percentile {1e3 * late:.2f} ms")
    console.print(f"cost: {usd(sum(one.cost_usd for row in found for one in row))} USD")


def _facts(judged: Judged, found: Sequence[Sequence[Found]]) -> dict[str, Any]:
    return {
        "turn": judged.turn,
        "span": judged.span,
        "conversation": judged.conversation,
        "overall": judged.overall,
        "other_precision": judged.outside_precision,
        "other_recall": judged.outside_recall,
        "latency_s": None if judged.latency_s is None else {"median": judged.latency_s[0], "p95": judged.latency_s[1]},
        "cost_usd": sum(one.cost_usd for row in found for one in row),
        "turns": judged.turns,
        "confusion": [{"right": a, "found": b, "turns": n} for (a, b), n in sorted(judged.confusion.items())],
    }


def _write(path: Path, conversations: Sequence[Labelled], found: Sequence[Sequence[Found]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for one, row in zip(conversations, found, strict=True):
            for turn, (label, got) in enumerate(zip(one.routes, row, strict=True)):
                facts = {
                    "id": one.name,
                    "turn": turn,
                    "right": label,
                    "found": got.route,
                    "why": got.why,
                    "confidence": got.confidence,
                    "latency_s": got.latency_s,
                    "cost_usd": got.cost_usd,
                }
                file.write(json.dumps(facts, ensure_ascii=False) + "\n")
