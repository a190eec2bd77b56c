"""Which kind of answer a query wants: from exact labels of recorded data, else from its text where that is certain."""

from __future__ import annotations

import re

from routewright.types import Query

_BY_DATASET = {
    "gsm8k": "number",
    "math_l5": "number",
    "svamp": "number",
    "mawps": "number",
    "routellm_gsm8k": "number",
    "crux": "literal",
    "bfcl_v1": "call",
    "routerbench_arc": "choice",
    "mmlu_redux": "choice",
    "routellm_mmlu": "choice",
    "nq_open": "short",
    "lab": "literal",  # numbers, and words with their case
}
_BY_TASK = {
    "math word problem": "number",
    "gsm8k": "number",
    "agentverse-mgsm": "number",
    "code output prediction": "literal",
    "science multiple choice": "choice",
    "commonsense_qa": "choice",
    "gpqa": "choice",
    "mmlu": "choice",
    "openbook_qa": "choice",
    "arc_challenge": "choice",
    "natural_qa": "short",
    "trivia_qa": "short",
    "open-domain QA": "short",
}
_BY_METRIC = {
    "function_call_check": "call",
    "function_call": "call",
    "GSM8K": "number",
    "numeric": "number",
    "em_mc": "choice",
    "mcq_accuracy": "choice",
    "multiple_choice": "choice",
    "literal": "literal",
    "answer_contained (normalised)": "short",
    "f1_score": "short",
    "squad_em": "short",
    "squad_f1": "short",
}
_TAIL = 4_000
_OPTIONS = re.compile(r"^[ \t]*\(?([A-J])[).:][ \t]+\S", re.MULTILINE)
_ASKS_LITERAL = re.compile(r"^assert .{1,2000}==[ \t]*\?\?[ \t]*$", re.MULTILINE)
_ASKS_NUMBER = re.compile(r"\b(?:how many|how much|how old|how far)\b[^?.!]{0,300}\?\s*$", re.IGNORECASE)
_COUNTED = re.compile(r"\d[\d.,]*")


def kind_of(query: Query, metric: str = "") -> str | None:
    """The kind of key that answers to a query have, or None where nothing certain is known.

    The most exact label wins: the metric that scored the answers, the task, the dataset. Then the text: lettered
    options A, B (C ...) on lines of their own, an assertion to complete with `??`, listed functions, or a story with
    at least two figures that ends in "how many ...?".
    """
    labelled = _BY_METRIC.get(metric) or _BY_TASK.get(query.task) or _BY_DATASET.get(query.dataset)
    return labelled or kind_of_text(query.text)


def kind_of_text(text: str) -> str | None:
    """The kind a text asks for, or None; looks at the last 4,000 characters."""
    text = text[-_TAIL:]
    letters = _OPTIONS.findall(text)
    if len(letters) >= 2 and letters[:2] == ["A", "B"] and letters == [chr(65 + i) for i in range(len(letters))]:
        return "choice"
    if "??" in text and _ASKS_LITERAL.search(text):
        return "literal"
    if "\n[available functions] " in text:
        return "call"
    if _ASKS_NUMBER.search(text[-400:]) and len(_COUNTED.findall(text)) >= 2:
        return "number"
    return None
