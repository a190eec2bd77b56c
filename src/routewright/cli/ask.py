"""`routewright ask "..." --pool pool.toml`: run one episode, stream the answer, show what was done and what it cost."""

from __future__ import annotations

import asyncio
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from routewright.cli.show import console, pairs, usd

if TYPE_CHECKING:
    from routewright.types import Call, Decision, Episode, Generate, ModelCard, Reply, Step

_RULES = {"last": "the last reply", "vote": "by vote", "text": "in words of its own"}


def ask(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The question; - reads it from standard input.")],
    pool: Annotated[Path, typer.Option(help="Pool file: models, prices, endpoints.")],
    policy: Annotated[
        str, typer.Option(help="Folder of a trained router or coordinator, or a policy's name.")
    ] = "single",
    option: Annotated[list[str] | None, typer.Option(help="Option of a named policy, key=value; repeatable.")] = None,
    value_usd: Annotated[
        float | None,
        typer.Option(
            help="What a right answer is worth, USD per unit of score [default: the coordinator's own, or 0.01]."
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A trade-off found in training: q100, q99, q95.")] = None,
    budget_usd: Annotated[float | None, typer.Option(help="The most this question may cost, USD; a hard cap.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The longest reply, tokens.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Show every step: model, why, tokens, USD, seconds.")] = False,
    trace_file: Annotated[
        Path | None, typer.Option(help="Append the trace to this file, a JSON object a line.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of policies that explore.")] = 0,
) -> None:
    """Ask a pool one question through a policy."""
    from routewright.coordinator import find
    from routewright.errors import ConfigError
    from routewright.pools.pool import load_pool
    from routewright.types import Query

    if value_usd is not None and (not math.isfinite(value_usd) or value_usd < 0):
        raise ConfigError(f"--value-usd {value_usd} is not a number of USD. Expected 0 or more.")
    if budget_usd is not None and (math.isnan(budget_usd) or budget_usd < 0):
        raise ConfigError(f"--budget-usd {budget_usd} is not a number of USD. Expected 0 or more.")
    text = sys.stdin.read() if query == "-" else query
    if not text.strip():
        raise ConfigError("The question is empty. Expected a text, or - and a text on standard input.")
    coordinator = find(policy, pairs(option or [], "--option"))
    opened = load_pool(pool)
    coordinator.check(opened.models)
    request = Query(text, options={"max_tokens": max_tokens} if max_tokens else {})
    ended: list[Episode] = []
    try:
        episode = asyncio.run(
            _run(coordinator, opened, request, value_usd, preset, budget_usd, trace_file, seed, ended)
        )
    except KeyboardInterrupt:
        _interrupted(ended, trace)
    if trace:
        console.print(_tree(episode))
    console.print(_total(episode, opened.cards, coordinator.about.get("best_single")))
    if episode.stopped in ("failed", "overrun") and not episode.answer:
        last = next((s.reply for s in reversed(episode.steps) if s.reply is not None), None)
        print(f"error: no answer: {last.error if last is not None else episode.stopped}", file=sys.stderr)
        raise typer.Exit(1)


async def _run(
    coordinator: Any,
    pool: Any,
    query: Any,
    value_usd: float | None,
    preset: str | None,
    budget_usd: float | None,
    trace_file: Path | None,
    seed: int,
    ended: list[Episode],
) -> Episode:
    """One episode, its answer printed as it comes. `ended` is given the episode even where it is interrupted."""
    from routewright.episodes.trace import TraceFile

    printed: list[str] = []

    def on_delta(delta: Any) -> None:
        if delta is None:
            print("\n[the reply broke off; asking again]")
            printed.clear()
        elif delta.text:
            print(delta.text, end="", flush=True)
            printed.append(delta.text)

    async def go(sink: Any) -> Episode:
        cap = math.inf if budget_usd is None else budget_usd

        def keep(state: Any, step: Any, episode: Episode | None) -> None:
            if sink is not None:
                sink(state, step, episode)
            if episode is not None:
                ended.append(episode)

        made: Episode = await coordinator.arun(
            query, pool, value_usd, cap, preset=preset, seed=seed, on_delta=on_delta, sink=keep
        )
        return made

    try:
        if trace_file is not None:
            with TraceFile(trace_file) as sink:
                episode = await go(sink)
        else:
            episode = await go(None)
    finally:
        await pool.aclose()
    if "".join(printed) != episode.answer:  # a vote, or a reply that was not known to be the last
        print(("\n" if printed else "") + episode.answer, end="")
    if printed or episode.answer:
        print(flush=True)
    return episode


def _interrupted(ended: list[Episode], trace: bool) -> NoReturn:
    """What had been done when somebody pressed Ctrl-C, and what it may have cost."""
    print(flush=True)
    if trace and ended:
        console.print(_tree(ended[-1]))
    bill = f"; {_money(ended[-1].cost_usd)} may have been charged" if ended else ""
    print(f"interrupted{bill}", file=sys.stderr)
    raise SystemExit(130)


def _tree(episode: Episode) -> Any:
    """The steps as a tree."""
    from rich.text import Text
    from rich.tree import Tree

    from routewright.types import Answer, Generate, Plan, Think

    tree = Tree(Text(f"episode {episode.trace_id[:8]}: {episode.stopped}"))
    branch = tree
    for number, step in enumerate(episode.steps):
        wish = step.decision
        action = wish if isinstance(wish, Generate) else wish.action
        if isinstance(action, Plan):
            branch = tree.add(Text(f"plan of {len(action.calls)} calls{_why(step)}"))
        elif isinstance(action, Think):
            tree.add(Text(f"thinks: {action.text[:200]}"))
        elif not isinstance(action, Answer):
            parent = branch if step.node is not None else tree
            mark = " <- the answer" if number == episode.chosen else ""
            node = parent.add(Text(_line(step, action) + mark))
            for attempt in step.reply.attempts if step.reply is not None else ():
                if attempt.error or attempt.note or (step.reply is not None and len(step.reply.attempts) > 1):
                    said = (attempt.error or attempt.note or "answered").removeprefix(f"{attempt.endpoint}: ")
                    node.add(Text(f"{attempt.model} at {attempt.endpoint}: {said} ({_money(attempt.cost_usd)})"))
    if episode.ending is not None and isinstance(action := episode.ending.action, Answer):
        tree.add(Text(f"answers: {_RULES[action.rule]}{_reason(episode.ending)}"))
    return tree


def _line(step: Step, action: Call | Generate) -> str:
    reply = step.reply
    role = getattr(action, "role", "policy")
    if reply is None:
        return f"{action.model} ({role})"
    asked = f" for {action.model}" if action.model != reply.model else ""
    if reply.error is not None:
        return f"{reply.model}{asked} ({role}) failed: {reply.error}; {_money(reply.cost_usd)}, {reply.latency_s:.2f} s{_why(step)}"
    about = "about " if reply.usage.estimated else ""
    kept = ", from the cache" if reply.cached else ""
    tokens = f"{about}{reply.usage.tokens_in} + {reply.usage.tokens_out} tokens"
    return (
        f"{reply.model}{asked} ({role}): {tokens}, {_money(reply.cost_usd)}, {reply.latency_s:.2f} s{kept}{_why(step)}"
    )


def _why(step: Step) -> str:
    return _reason(step.decision)


def _reason(wish: Decision | Generate) -> str:
    reason = getattr(wish, "reason", "")
    return f"; {reason}" if reason else ""


def _total(episode: Episode, cards: tuple[ModelCard, ...], best: str | None) -> str:
    """The bill, beside what one call of the best single model would have cost."""
    replies: list[Reply] = [s.reply for s in episode.steps if s.reply is not None]
    calls = sum(len(r.attempts) or 1 for r in replies)
    line = f"{_money(episode.cost_usd)}, {calls} call{'s' if calls != 1 else ''}, {episode.latency_s:.2f} s"
    if episode.overrun_usd:
        line += f"; upstreams claim {_money(episode.overrun_usd)} more than was possible"
    rival, label = _rival(cards, best)
    if rival is None or not replies:
        return line
    chosen = replies[-1] if episode.chosen is None else episode.steps[episode.chosen].reply
    if chosen is None or chosen.error is not None:
        return line
    from routewright.pools.bounds import estimate_prompt, messages_of, price_usd
    from routewright.types import Usage

    prompt = estimate_prompt(messages_of(episode.query), episode.query.options)
    cost = price_usd(rival, Usage(prompt, chosen.usage.tokens_out))
    return f"{line}; {label} {rival.name} would have cost about {_money(cost)}"


def _rival(cards: tuple[ModelCard, ...], best: str | None) -> tuple[ModelCard | None, str]:
    """The best single model as training found it; where nothing was trained, the dearest of the pool."""
    known = next((c for c in cards if c.name == best), None)
    if known is not None:
        return known, "the best single model"
    priced = [c for c in cards if c.usd_per_mtok_out is not None]
    if not priced:
        return None, ""
    return max(priced, key=lambda c: (c.usd_per_mtok_in or 0) + (c.usd_per_mtok_out or 0)), "the dearest model"


def _money(value: float) -> str:
    return f"{usd(value)} USD"
