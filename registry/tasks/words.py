"""Words to subwords: pieces of each word, windows over long sentences, and words in typed text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import regex

from registry.tasks.tokens import stand_in

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Abbreviations and numbers whole, a clitic ('s) by itself, any other sign by itself: as CoNLL's files do.
# Vowel signs, accents and the joiners between them belong to the word that they are written in.
_LETTER = r"[\w\p{M}\p{N}\u200c\u200d]"
_WORD = regex.compile(
    r"(?:[^\W\d_]\.){2,}|\d+(?:[.,:/-]\d+)*"
    rf"|['’](?:s|re|ve|ll|d|m|t)(?!{_LETTER})|{_LETTER}+(?:[-.&]{_LETTER}+)*|[^\w\s]",
    regex.IGNORECASE,
)
_CHARACTER = regex.compile(r"\S")


@dataclass(frozen=True)
class Window:
    """Words [first, last) of a sentence that are read together, and those [owned_first, owned_last) scored here."""

    first: int
    last: int
    owned_first: int
    owned_last: int


def word_pieces(
    tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]], spaced: bool
) -> list[list[list[int]]]:
    """Token ids of every word of every sentence; at least one each.

    Every distinct word is tokenised by itself, once, so that no tokenizer can join two words or lose
    one. Where a space belongs to the word after it (byte-level BPE, Gemma), it is given one.

    Args:
        spaced: whether words are written with spaces between them.
    """
    distinct = list(dict.fromkeys(word for words in sentences for word in words))
    if not distinct:
        return [[] for _ in sentences]
    lead = " " if spaced and _space_matters(tokenizer) else ""
    encoded = tokenizer([lead + word for word in distinct], add_special_tokens=False, verbose=False)["input_ids"]
    bare = None if spaced else tokenizer.get_vocab().get("▁")
    pieces = {}
    for word, ids in zip(distinct, encoded, strict=True):
        # A SentencePiece space of its own before a character would be where its label goes.
        kept = ids[1:] if len(ids) > 1 and ids[0] == bare else ids
        pieces[word] = kept or [stand_in(tokenizer)]
    return [[pieces[word] for word in words] for words in sentences]


def windows(lengths: Sequence[int], room: int, overlap: float) -> Iterator[Window]:
    """Cut a sentence into windows of at most `room` tokens that overlap and leave no word out.

    Every word is scored in exactly one window, the one where it has more context: borders lie in the
    middle of what two windows share.

    Args:
        lengths: tokens of each word, none over `room`.
        overlap: share of the room that a window repeats of the one before.
    """
    firsts, lasts = [], []
    first = last = 0
    while True:
        used = 0
        last = first
        while last < len(lengths) and used + lengths[last] <= room:
            used += lengths[last]
            last += 1
        firsts.append(first)
        lasts.append(last)
        if last == len(lengths):
            break
        repeated, start = 0, last
        while start > first + 1 and repeated + lengths[start - 1] <= overlap * room:
            start -= 1
            repeated += lengths[start]
        first = start
    borders = [0, *((lasts[i] + firsts[i + 1]) // 2 for i in range(len(firsts) - 1)), len(lengths)]
    for i, (start, end) in enumerate(zip(firsts, lasts, strict=True)):
        yield Window(start, end, borders[i], borders[i + 1])


def split_words(text: str, characters: bool = False) -> tuple[list[str], list[int]]:
    """Words (or single characters) of a text, and where in it each begins."""
    found = list((_CHARACTER if characters else _WORD).finditer(text))
    return [match.group() for match in found], [match.start() for match in found]


def are_characters(sentences: Sequence[Sequence[str]]) -> bool:
    """Whether the tokens are single characters, but for the numbers and foreign words that some files keep whole."""
    lengths = [len(token) for tokens in sentences for token in tokens]
    return sum(length == 1 for length in lengths) > 0.9 * len(lengths)


def joined_words(words: Sequence[str], spaced: bool) -> tuple[str, list[int]]:
    """A text of the words, and where in it each begins."""
    gap = " " if spaced else ""
    starts, place = [], 0
    for word in words:
        starts.append(place)
        place += len(word) + len(gap)
    return gap.join(words), starts


def _space_matters(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a space belongs to the word after it (written Ġ or ▁), and is only there where the text has one."""
    spaced, bare = (
        tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (" a", "a")
    )
    return bool(spaced) and spaced[0].startswith(("Ġ", "▁")) and not (bare and bare[0].startswith(("Ġ", "▁")))
