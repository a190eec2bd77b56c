"""A trained lab model on disk: GGUF, and the card that says what it is and how good it is."""

from __future__ import annotations

import datetime
from pathlib import Path

from routewright.lab.export import arrays_of, write_gguf
from routewright.lab.llama import Llama
from routewright.lab.measure import LONGEST_PLAN, LONGEST_TURN, by_family, plans, routes, table, torch_answers
from routewright.lab.roster import PLAN, ROUTE, Recipe
from routewright.lab.tokenizer import Vocabulary
from routewright.outcomes.table import beside


def write_model(out: Path, recipe: Recipe, model: Llama, vocabulary: Vocabulary, cpu_s: float, questions: int) -> str:
    """Write `NAME.gguf` and `NAME.md`; returns the card.

    Args:
        cpu_s: What training took, CPU seconds, of this process alone: a resumed run tells only of its last part.
        questions: Test questions a family that the card's figures rest on.
    """
    write_gguf(out / f"{recipe.name}.gguf", arrays_of(model), model.shape, vocabulary, recipe.name, recipe.about)
    if PLAN in recipe.shares:
        found = {"whole plans": plans(torch_answers(model, vocabulary, LONGEST_PLAN), questions)}
    elif ROUTE in recipe.shares:
        turns, whole = routes(torch_answers(model, vocabulary, LONGEST_TURN), questions)
        found = {"turns of a conversation": turns, "whole conversations": whole}
    else:
        found = by_family(torch_answers(model, vocabulary), questions)
    size = (out / f"{recipe.name}.gguf").stat().st_size
    shares = ", ".join(f"{name} {100 * share:.0f}%" for name, share in recipe.shares.items() if share)
    card = f"""# {recipe.name}

{recipe.about[0].upper()}{recipe.about[1:]}.

- {recipe.parameters(len(vocabulary)):,} parameters: {recipe.layers} layers of {recipe.width}, {recipe.heads} heads; {size / 1e6:.2f} MB as GGUF (F16)
- seen in training: {shares}; {recipe.steps} steps of {recipe.tokens} tokens, generated anew
- trained with `routewright lab train {recipe.name}`, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}; {cpu_s:.0f} CPU seconds in the last run

Right answers on test questions, greedy:

{table(found)}
"""
    with beside(out / f"{recipe.name}.md") as temporary:
        temporary.write_text(card, encoding="utf-8")
    return card
