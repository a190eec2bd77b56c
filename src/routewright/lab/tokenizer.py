"""The lab's tokenizer: byte-level BPE whose merges build the lowercase words of templates, and nothing else.

A model of a million parameters has no room to learn how a name is spelt if every name is cut in other pieces. So merges
only ever extend a word that begins with a space: ` the` is one token (by way of ` t`, ` th`), while a name, a digit or
a sign stays a sequence of bytes. `Zurich` has no token that ` zone` could lend it, for a name begins with a capital.

The same tokens come out of the `tokenizers` package, of transformers and of llama.cpp: the split before merging is GPT-2's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

SPECIAL = ("<|end|>", "<|pad|>")
SPACE = "Ġ"  # the byte-level letter for a space


def byte_letters() -> list[str]:
    """GPT-2's letters for the bytes 0 to 255: printable ones stand for themselves, the others for 256 and up."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


@dataclass(frozen=True)
class Vocabulary:
    """256 bytes, one token per beginning of a template word, and the special tokens, in this order."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str], least: int = 1) -> Vocabulary:
        """The lowercase words that follow a space in at least `least` of the texts, sorted."""
        seen: dict[str, int] = {}
        for text in texts:
            for word in set(text.split(" ")[1:]):
                bare = word.rstrip(".,:;?!\n")
                if bare.isalpha() and bare.isascii() and bare.islower():
                    seen[bare] = seen.get(bare, 0) + 1
        return cls(tuple(sorted(w for w, n in seen.items() if n >= least)))

    @cached_property
    def merges(self) -> list[tuple[str, str]]:
        """Pairs in order: every beginning of a word before its longer ones."""
        found: dict[str, tuple[str, str]] = {}
        for word in self.words:
            for n in range(1, len(word) + 1):
                found.setdefault(SPACE + word[:n], (SPACE + word[: n - 1], word[n - 1]))
        return [found[token] for token in sorted(found, key=lambda t: (len(t), t))]

    @cached_property
    def tokens(self) -> list[str]:
        return [*byte_letters(), *(a + b for a, b in self.merges), *SPECIAL]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def end(self) -> int:
        """Ends a reply."""
        return len(self.tokens) - 2

    @property
    def pad(self) -> int:
        return len(self.tokens) - 1

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        ids = {token: i for i, token in enumerate(self.tokens)}
        made = Tokenizer(models.BPE(vocab=ids, merges=self.merges))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        made.decoder = decoders.ByteLevel()
        made.add_special_tokens(list(SPECIAL))
        return made

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token numbers of each text."""
        return [found.ids for found in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text up to the first end."""
        kept = list(ids)
        if self.end in kept:
            kept = kept[: kept.index(self.end)]
        text: str = self._tokenizer.decode(kept, skip_special_tokens=True)
        return text

    def save(self, path: str) -> None:
        """As `tokenizer.json`, for transformers."""
        self._tokenizer.save(path)
