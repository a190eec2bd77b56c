"""`routewright train TABLE --policy P --out DIR`: fit a router and save it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routewright.cli.show import console, pairs, refuse_out, usd


def train(
    tables: Annotated[list[Path], typer.Argument(metavar="TABLE...", help="Outcome table(s); several are merged.")],
    out: Annotated[Path, typer.Option(help="Folder for the router.")],
    policy: Annotated[str, typer.Option(help="Policy; see `routewright policies`.")] = "routewright",
    encoder: Annotated[str, typer.Option(help="Encoder.")] = "hashing",
    option: Annotated[list[str] | None, typer.Option(help="Option of the policy, key=value; repeatable.")] = None,
    models: Annotated[str, typer.Option(help="Only these models, separated by commas.")] = "",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Random seed.")] = 0,
    presets: Annotated[bool, typer.Option(help="Cross-fit once to find the presets q100, q99, q95.")] = True,
) -> None:
    """Train a router on recorded outcomes and save it (safetensors and JSON)."""
    from routewright.encoders import build_encoder
    from routewright.evaluate.presets import presets as find
    from routewright.evaluate.settings import Part
    from routewright.outcomes import load
    from routewright.outcomes.dense import concat
    from routewright.router import fit, refuse_target
    from routewright.scorers import build_scorer

    options = pairs(option or [], "--option")
    build_scorer(policy, options, seed)
    build_encoder(encoder)
    refuse_out(out)
    refuse_target(out)
    loaded = [load(path, [m for m in models.split(",") if m] or None) for path in tables]
    data = loaded[0] if len(loaded) == 1 else concat("+".join(t.name for t in loaded), loaded)
    router = fit(data, policy, encoder, options=options, seed=seed)
    if presets:
        with console.status("Cross-fitting to find the presets ..."):
            found, curve = find(data, Part(kind=policy, options=options), Part(kind=encoder), seed)
        router.presets = found
        best = max(float(data.quality.mean(axis=0).max()), 1e-12)
        for name, value in found.items():
            at = int((curve["value_usd"] == value).argmax())
            console.print(
                f"{name}: value_usd {usd(value)} keeps {100 * curve['quality'][at] / best:.1f}% of the best single model's "
                f"quality at {usd(1000 * curve['cost_usd'][at])} USD / 1,000 (cross-fitted)"
            )
    router.save(out)
    console.print(f"{out}: {policy} on {len(data)} queries x {len(data.models)} models of {data.name}")
