"""The key of a short answer in words: SQuAD's normal form.

Lower case, no punctuation, no articles, single spaces: "The Eiffel Tower." -> "eiffel tower". A reply without a marked
answer has a key only if it is short itself, at most `WORDS` words.

Reference: Rajpurkar et al. 2016, arXiv:1606.05250, the official evaluation script's `normalize_answer`.
Differs: also drops Unicode punctuation, and folds compatibility characters (NFKC), so that curly quotes agree.
"""

from __future__ import annotations

import json
import re
import string
import unicodedata
from typing import Any

from routewright.tasks.keys.reading import bounded, marked, own_part, phrased

WORDS = 12
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation + "“”‘’«»–—…¿¡•")
_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox)\s*\{([^{}]*)\}")


def short_key(text: str) -> str | None:
    """The normal form of the short answer in a reply, or None."""
    text = own_part(bounded(text)).strip()
    answer = marked(text)
    if answer is None:
        answer = phrased(text)
    if answer is None:
        answer = text
    if isinstance(answer, list):
        answer = ", ".join(str(part) for part in answer)
    answer = str(answer)[:2_000]
    if "\\" in answer:
        answer = _TEXT.sub(r"\1", answer)
    key = normalise(answer)
    return key if key and key.count(" ") < WORDS else None


def normalise(text: str) -> str:
    """SQuAD's normal form of a text."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def references_of(reference: str) -> list[str]:
    """The accepted answers of a reference: a JSON list of them, or one plain text."""
    if reference.lstrip().startswith("["):
        try:
            values: Any = json.loads(reference)
        except (ValueError, RecursionError):
            return [reference]
        if isinstance(values, list) and values:
            return [str(value) for value in values]
    return [reference]


def short_matches(key: str, reference: str) -> bool:
    """Whether any accepted answer has the same normal form."""
    return any(key == normalise(accepted) for accepted in references_of(reference))
