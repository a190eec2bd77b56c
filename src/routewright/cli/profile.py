"""`routewright profile TABLE --out DIR`: a page a model, and the numbers as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routewright.cli.show import console, listing, refuse_out, usd


def profile(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Outcome table: a file, or a folder.")],
    out: Annotated[
        Path, typer.Option(help="Folder for index.md, a page a model, profiles.json and descriptions.toml.")
    ],
    models: Annotated[str, typer.Option(help="Only these models, separated by commas.")] = "",
    examples: Annotated[int, typer.Option(min=0, max=50, help="Queries shown of each kind.")] = 3,
    encoder: Annotated[str, typer.Option(help="Encoder of the forecasts whose reliability is told.")] = "hashing",
) -> None:
    """Write what a table says of each model: how good, at what, how surely, at what cost, with examples."""
    import json
    from dataclasses import asdict

    from routewright.encoders import build_encoder
    from routewright.encoders.cache import vectors_of
    from routewright.outcomes import load
    from routewright.outcomes.table import beside
    from routewright.profiles.pages import descriptions, file_of, index, page
    from routewright.profiles.profile import ProfileConfig, profiles

    refuse_out(out)
    outcomes = load(table, [m for m in models.split(",") if m] or None)
    built = build_encoder(encoder, {})
    texts = [q.text for q in outcomes.queries]
    built.fit(texts)
    made = profiles(outcomes, vectors_of(built, texts), ProfileConfig(examples=examples))
    facts = [
        {k: None if isinstance(v, float) and v != v else v for k, v in asdict(one).items()} for one in made
    ]  # JSON has no NaN
    pages = {
        "index.md": index(outcomes.name, made, outcomes.score_kind, outcomes.cost_source),
        **{file_of(one.model): page(one, len(made)) for one in made},
        "descriptions.toml": descriptions(made),
        "profiles.json": json.dumps({"table": outcomes.name, "models": facts}, indent=1, allow_nan=False),
    }
    for name, text in pages.items():
        with beside(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    kinds = {"strength": "good at", "weakness": "weak at"}
    named = {
        kind: [", ".join(t.task.split("/", 1)[-1] for t in one.tasks if t.verdict == kind) for one in made]
        for kind in kinds
    }
    told = [kind for kind in kinds if any(named[kind])]  # a table of one task tells neither
    shown = listing("model", "score %", "USD / 1,000", *(kinds[kind] for kind in told))
    for i, one in enumerate(made):
        shown.add_row(
            one.model,
            f"{100 * one.score:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]",
            usd(1000 * one.cost_usd) + (" *" if not one.dominated_by else ""),
            *(named[kind][i] for kind in told),
        )
    console.print(shown)
    console.print("* no other model is both no dearer and no worse")
    console.print(f"{out / 'index.md'}  {len(made)} models")
