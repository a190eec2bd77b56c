"""`routewright train TABLE --policy P --out DIR`: fit a router, or a policy of several calls, and save it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routewright.cli.show import console, pairs, refuse_out, usd
from routewright.errors import ConfigError

if TYPE_CHECKING:
    from routewright.evaluate.settings import Part
    from routewright.outcomes import Outcomes


def train(
    tables: Annotated[list[Path], typer.Argument(metavar="TABLE...", help="Outcome table(s); several are merged.")],
    out: Annotated[Path, typer.Option(help="Folder for the router.")],
    policy: Annotated[str, typer.Option(help="Policy; see `routewright policies`.")] = "routewright",
    encoder: Annotated[str, typer.Option(help="Encoder.")] = "hashing",
    option: Annotated[list[str] | None, typer.Option(help="Option of the policy, key=value; repeatable.")] = None,
    scorer: Annotated[
        str, typer.Option(help="Scorer whose forecasts a policy of several calls is to use [default: none].")
    ] = "",
    models: Annotated[str, typer.Option(help="Only these models, separated by commas.")] = "",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Random seed.")] = 0,
    presets: Annotated[bool, typer.Option(help="Cross-fit once to find the presets q100, q99, q95.")] = True,
    skills: Annotated[
        Path | None,
        typer.Option(help="For policies trained on a response tree: a table of plain questions of several tasks."),
    ] = None,
) -> None:
    """Train a router or a coordinator on recorded outcomes and save it (safetensors and JSON).

    A language model that routes is trained by `routewright train r1`.
    """
    from routewright import coordinator, router
    from routewright.encoders import build_encoder
    from routewright.evaluate.multistep import check_part
    from routewright.evaluate.settings import Part
    from routewright.outcomes import load
    from routewright.outcomes.arrays import concat
    from routewright.policies.table import POLICIES

    options = pairs(option or [], "--option")
    if policy in POLICIES and POLICIES.load(policy).learns == "tree":
        _on_a_tree(policy, tables, out, options, skills, [m for m in models.split(",") if m] or None, seed)
        return
    if skills is not None:
        raise ConfigError(f"--skills is for policies trained on a response tree, which {policy} is not.")
    part = Part(kind=policy, options=options, scorer=scorer)
    check_part(part)
    build_encoder(encoder)
    if part.several:
        coordinator.trainable(policy, options)
    refuse_out(out)
    (coordinator if part.several else router).refuse_target(out)
    wanted = [m for m in models.split(",") if m] or None
    loaded = [load(path, wanted, keys=part.compares) for path in tables]
    data = loaded[0] if len(loaded) == 1 else concat("+".join(t.name for t in loaded), loaded)
    trained: Any
    if part.several:
        trained = coordinator.fit_coordinator(data, policy, options, scorer=scorer, encoder=encoder, seed=seed)
    else:
        trained = router.fit(data, policy, encoder, options=options, seed=seed)
    if presets:
        trained.presets = _presets(data, part, Part(kind=encoder), seed)
    trained.save(out)
    console.print(f"{out}: {policy} on {len(data)} queries x {len(data.models)} models of {data.name}")


def _on_a_tree(
    policy: str,
    trees: list[Path],
    out: Path,
    options: dict[str, Any],
    skills: Path | None,
    models: list[str] | None,
    seed: int,
) -> None:
    """Train a policy whose calls see earlier replies; every round is told."""
    from routewright.coordinator import Coordinator, refuse_target
    from routewright.episodes.tree import read_tree
    from routewright.outcomes import load
    from routewright.policies.base import build_policy
    from routewright.policies.relay import Relay
    from routewright.train.relay import fit_relay

    made = build_policy(policy, options, seed)
    assert isinstance(made, Relay)
    refuse_out(out)
    refuse_target(out)
    tree = read_tree(trees, made.config.mark, made.config.step, models)

    def tell(record: dict[str, Any]) -> None:
        held = f", held out {record['held_out']:+.3f}" if "held_out" in record else ""
        console.print(
            f"{record['phase']} {record['update']}: return {record['return']:+.3f}{held}; {record['calls']:.1f} calls, "
            f"largest share {100 * record['largest_share']:.0f}%" + (" (collapsed)" if record["collapsed"] else ""),
            highlight=False,
        )

    history = fit_relay(made, tree, None if skills is None else load(skills), tell)
    Coordinator(made, about={"queries": len(tree), "history": history}).save(out)
    console.print(
        f"{out}: relay on {len(tree)} queries x {len(tree.models)} models, {len(tree.query)} recorded situations"
    )


def _presets(data: Outcomes, part: Part, encoder: Part, seed: int) -> Mapping[str, float]:
    """Cross-fit once, print what each preset keeps and costs, and return them."""
    from routewright.evaluate.presets import presets

    with console.status("Cross-fitting to find the presets ..."):
        found, curve = presets(data, part, encoder, seed)
    best = max(float(data.quality.mean(axis=0).max()), 1e-12)
    for name, value in found.items():
        at = int((curve["value_usd"] == value).argmax())
        console.print(
            f"{name}: value_usd {usd(value)} keeps {100 * curve['quality'][at] / best:.1f}% of the best single model's "
            f"quality at {usd(1000 * curve['cost_usd'][at])} USD / 1,000 (cross-fitted)"
        )
    return found
