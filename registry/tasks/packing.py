"""Texts to blocks for masked language modelling: packed without padding, or each by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from registry.tasks.tokens import frame_of, room_for

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from registry.tasks.base import Limits

MASK_SIGN = re.compile(r"[\[［]MASK[\]］]|[<＜]mask[>＞]")
"""What a person writes for a mask; input methods of Chinese and Japanese give brackets of full width."""


def pack(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], rows: Sequence[int], limits: Limits, words: bool
) -> dict[str, list[Any]]:
    """Blocks of exactly `max_length` tokens, the last one shorter; nothing is padded and nothing lost.

    Texts follow one another with the tokenizer's closing tokens between them. A block carries the row
    that its first token came from and its number among the blocks of that row.

    Args:
        words: add `words`, the word number of every token (-1 for special ones), for whole-word masking.
    """
    frame = frame_of(tokenizer)
    room = room_for(frame, limits)
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    between = frame.suffix or frame.prefix
    ids: list[int] = []
    origin: list[int] = []
    word: list[int] = []
    for number, (row, content) in enumerate(zip(rows, encoded["input_ids"], strict=True)):
        offset = len(ids)  # above every word number so far
        ids += [*content, *between]
        origin += [row] * (len(content) + len(between))
        if words:
            word += [-1 if w is None else offset + w for w in encoded.word_ids(number)] + [-1] * len(between)
    ids, origin, word = (values[: len(values) - len(between)] for values in (ids, origin, word))
    columns: dict[str, list[Any]] = {name: [] for name in ("input_ids", "row", "part", "truncated")}
    if words:
        columns["words"] = []
    for start in range(0, len(ids), room):
        row = origin[start]
        same = bool(columns["row"]) and columns["row"][-1] == row
        columns["part"].append(columns["part"][-1] + 1 if same else 0)
        columns["input_ids"].append(frame.around(ids[start : start + room]))
        columns["row"].append(row)
        columns["truncated"].append(False)
        if words:
            inside = word[start : start + room]
            columns["words"].append([*[-1] * len(frame.prefix), *inside, *[-1] * len(frame.suffix)])
    return columns


def join_masked(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Sequence[str]], rows: Sequence[int], limits: Limits
) -> dict[str, list[Any]]:
    """Each text by itself, cut into blocks where it is long, with a mask between the stretches that it is given in."""
    frame = frame_of(tokenizer)
    room = room_for(frame, limits)
    mask = tokenizer.mask_token
    assert isinstance(mask, str)
    columns: dict[str, list[Any]] = {name: [] for name in ("input_ids", "row", "part", "truncated", "fill")}
    for stretches, row in zip(texts, rows, strict=True):
        # Cleaning may have made a mask of what was none: there is no place in the person's text to fill it.
        text = mask.join(stretch.replace(mask, " ") for stretch in stretches)
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        for part, start in enumerate(range(0, max(len(ids), 1), room)):
            values = (frame.around(ids[start : start + room]), row, part, False, True)
            for name, value in zip(columns, values, strict=True):
                columns[name].append(value)
    return columns
