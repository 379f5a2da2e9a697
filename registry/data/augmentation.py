"""Noise in training texts: words left out, swapped, misspelt; a function of (seed, epoch, row) alone."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from registry.data.roles import TEXTS
from registry.options import Augmentation

if TYPE_CHECKING:
    from datasets import Dataset

# A word with the blanks behind it; scripts written without blanks count every character as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]\s*|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+\s*")

OUTSIDE = "O"


class Augmenter:
    """The noise that the options ask for. False where they ask for none."""

    def __init__(self, augmentation: Augmentation, seed: int) -> None:
        self.augmentation, self.seed = augmentation, seed

    def __bool__(self) -> bool:
        asked = self.augmentation
        return max(asked.augment_delete, asked.augment_swap, asked.augment_spelling) > 0

    def rows(self, train: Dataset, epoch: int, spared: Iterable[int] = ()) -> Dataset:
        """The training rows as this epoch sees them; those with an id in `spared` stay as they are."""
        left = frozenset(spared)
        names = [name for name in (*TEXTS, "tokens", "tags", "row") if name in train.column_names]
        return train.map(
            lambda rows: self.columns({name: rows[name] for name in names}, epoch, left),
            batched=True,
            load_from_cache_file=False,
            desc=f"augmenting epoch {epoch + 1}",
        )

    def columns(
        self, examples: Mapping[str, Sequence[Any]], epoch: int, spared: Collection[int] = ()
    ) -> dict[str, list[Any]]:
        """Columns of some rows, with noise; tags stay with their tokens."""
        changed = {name: list(values) for name, values in examples.items()}
        for at, row in enumerate(examples["row"]):
            if row in spared:
                continue
            rng = random.Random(f"{self.seed} {epoch} {row}")
            for name in TEXTS:
                if name in changed and changed[name][at]:
                    changed[name][at] = self._text(changed[name][at], rng)
            if "tokens" in changed:
                tags = changed["tags"][at] if "tags" in changed else [OUTSIDE] * len(changed["tokens"][at])
                tokens, tags = self._tokens(changed["tokens"][at], tags, rng)
                changed["tokens"][at] = tokens
                if "tags" in changed:
                    changed["tags"][at] = tags
        return changed

    def _text(self, text: str, rng: random.Random) -> str:
        words = _WORD.findall(text)
        kept, _ = self._tokens(words, [OUTSIDE] * len(words), rng)
        return _spaced(kept)

    def _tokens(self, tokens: Sequence[str], tags: Sequence[str], rng: random.Random) -> tuple[list[str], list[str]]:
        """Deletion and swapping leave entities alone: only words outside of them move or go."""
        asked = self.augmentation
        pairs = list(zip(tokens, tags, strict=True))
        kept = [pair for pair in pairs if pair[1] != OUTSIDE or rng.random() >= asked.augment_delete]
        kept = kept or pairs[:1]
        at = 0
        while at + 1 < len(kept):
            if rng.random() < asked.augment_swap and kept[at][1] == kept[at + 1][1] == OUTSIDE:
                kept[at], kept[at + 1] = kept[at + 1], kept[at]
                at += 1  # a word moves by one place at most
            at += 1
        spelt = [misspelt(token, rng) if rng.random() < asked.augment_spelling else token for token, _ in kept]
        return spelt, [tag for _, tag in kept]


def misspelt(word: str, rng: random.Random) -> str:
    """The word with two letters swapped, one left out or one doubled; words of one letter stay as they are."""
    bare = word.rstrip()
    if len(bare) < 2:
        return word
    at = rng.randrange(len(bare) - 1)
    changes = (
        bare[:at] + bare[at + 1] + bare[at] + bare[at + 2 :],
        bare[:at] + bare[at + 1 :],
        bare[:at] + bare[at] + bare[at:],
    )
    return rng.choice(changes) + word[len(bare) :]


def _spaced(words: Sequence[str]) -> str:
    """Words put together; one that came from the end of the text needs a blank in the middle of it."""
    spaced = any(word[-1:].isspace() for word in words)
    middle = [word if not spaced or word[-1:].isspace() or _alone(word) else f"{word} " for word in words[:-1]]
    return "".join([*middle, words[-1].rstrip()]) if words else ""


def _alone(word: str) -> bool:
    """Whether the word is one character of a script without blanks."""
    return len(word) == 1 and word >= "\u3040"
