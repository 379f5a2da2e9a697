"""Texts to token ids and back to rectangles: special tokens, truncation and padding, for every family."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from registry.tasks.base import Features, Limits


@dataclass(frozen=True)
class Frame:
    """What a tokenizer puts around one text, or around and between two.

    Args:
        prefix, middle, suffix: special token ids; `middle` is empty for single texts.
        type_ids: token types of (prefix, first, middle, second, suffix); None where the model has none.
        stand_in: the only id of a text without tokens where nothing is put around it: no model takes none.
    """

    prefix: list[int]
    middle: list[int]
    suffix: list[int]
    type_ids: tuple[list[int], int, list[int], int, list[int]] | None
    stand_in: int

    @property
    def size(self) -> int:
        """How many special tokens the frame adds."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)

    def around(self, first: Sequence[int], second: Sequence[int] = ()) -> list[int]:
        """Token ids with the special ones in place."""
        return [*self.prefix, *first, *self.middle, *second, *self.suffix] or [self.stand_in]

    def types(self, first: int, second: int) -> list[int]:
        """Token types of a framed pair with these content lengths."""
        assert self.type_ids is not None
        before, a, between, b, after = self.type_ids
        return [*before, *[a] * first, *between, *[b] * second, *after] or [a]


Probe = tuple[list[int], list[int | None], list[int] | None]
"""Token ids, which text each is of (None: special), and token types."""

_FRAMES: weakref.WeakKeyDictionary[Any, dict[bool, Frame]] = weakref.WeakKeyDictionary()


def frame_of(tokenizer: PreTrainedTokenizerBase, pair: bool = False) -> Frame:
    """The tokenizer's own frame, found once: a service encodes one short text at a time."""
    frames = _FRAMES.setdefault(tokenizer, {})
    if pair not in frames:
        frames[pair] = _probed(tokenizer, pair)
    return frames[pair]


def _probed(tokenizer: PreTrainedTokenizerBase, pair: bool) -> Frame:
    """The frame found by looking which tokens of an encoded probe are special.

    Cutting and framing by hand then allows truncation at either end or in the middle, which tokenizers do not offer.
    """
    ids, belongs, types = _encoded_probe(tokenizer, pair) if tokenizer.is_fast else _framed_probe(tokenizer, pair)
    first = [i for i, text in enumerate(belongs) if text == 0]
    second = [i for i, text in enumerate(belongs) if text == 1] or [len(belongs)]
    cuts = (slice(0, first[0]), slice(first[-1] + 1, second[0]), slice(second[-1] + 1, None))
    if not pair:
        return Frame(ids[cuts[0]], [], ids[cuts[1]], None, stand_in(tokenizer))
    kept = types and (types[cuts[0]], types[first[0]], types[cuts[1]], types[second[0]], types[cuts[2]])
    return Frame(ids[cuts[0]], ids[cuts[1]], ids[cuts[2]], kept or None, stand_in(tokenizer))


def _encoded_probe(tokenizer: PreTrainedTokenizerBase, pair: bool) -> Probe:
    """A probe that the tokenizer encodes: this works for every kind of post-processor."""
    for probe in ("a", "的", ".", tokenizer.convert_ids_to_tokens(len(tokenizer) - 1)):
        encoded = tokenizer(probe, probe) if pair else tokenizer(probe)
        belongs = encoded.sequence_ids(0)
        if set(belongs) >= ({0, 1} if pair else {0}):
            return encoded["input_ids"], belongs, encoded.get("token_type_ids")
    raise ValueError(f"tokenizer {tokenizer.name_or_path!r} gives no tokens for any probe text")


def _framed_probe(tokenizer: PreTrainedTokenizerBase, pair: bool) -> Probe:
    """Ids that no token has, framed by a tokenizer written in Python: it does not say which token is of which text."""
    first, second = [-1], [-2] if pair else None
    ids = tokenizer.build_inputs_with_special_tokens(first, second)
    typed = "token_type_ids" in tokenizer.model_input_names
    types = tokenizer.create_token_type_ids_from_sequences(first, second) if typed else None
    return ids, [{-1: 0, -2: 1}.get(i) for i in ids], types


def stand_in(tokenizer: PreTrainedTokenizerBase) -> Any:
    """The id for a text or a word of which the tokenizer makes no token."""
    return tokenizer.pad_token_id if tokenizer.unk_token_id is None else tokenizer.unk_token_id


def room_for(frame: Frame, limits: Limits) -> int:
    """Tokens that fit between the special ones; ValueError where none do."""
    room = limits.max_length - frame.size
    if room < 2:
        raise ValueError(f"--max-length {limits.max_length} leaves no room beside {frame.size} special tokens")
    return room


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text without special tokens, uncut.

    What a text itself has of the token that the frame ends with is left out: BART's head reads the state of the end,
    and would find two. (Split into letters it would not do: a Unigram vocabulary makes it the same token again.)
    """
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    end = tokenizer.eos_token_id
    if end not in frame_of(tokenizer).suffix:
        return encoded
    return [[i for i in ids if i != end] if end in ids else ids for ids in encoded]


def cut(ids: list[int], room: int, truncation: str) -> list[int]:
    """At most `room` ids: the first ("head"), the last ("tail"), or a quarter first and the rest last."""
    if len(ids) <= room:
        return ids
    if truncation == "head":
        return ids[:room]
    if truncation == "tail":
        return ids[len(ids) - room :]
    head = room // 4
    return ids[:head] + ids[len(ids) - (room - head) :]


def pair_room(first: int, second: int, room: int) -> tuple[int, int]:
    """Lengths of a pair that fits `room`: the longer text gives first, as transformers' "longest_first" does."""
    if first + second <= room:
        return first, second
    shorter = min(first, second, room // 2)
    if first <= second:
        return (first, room - first) if first == shorter else (room - room // 2, room // 2)
    return (room - second, second) if second == shorter else (room - room // 2, room // 2)


def encode_texts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], pairs: Sequence[str] | None, limits: Limits
) -> dict[str, list[Any]]:
    """`input_ids`, `truncated` and, for pairs of models that tell them apart, `token_type_ids`."""
    frame = frame_of(tokenizer, pair=pairs is not None)
    room = room_for(frame, limits)
    firsts = token_ids(tokenizer, texts)
    seconds = token_ids(tokenizer, pairs) if pairs is not None else [[] for _ in firsts]
    columns: dict[str, list[Any]] = {"input_ids": [], "truncated": []}
    if frame.type_ids is not None:
        columns["token_type_ids"] = []
    for first, second in zip(firsts, seconds, strict=True):
        rooms = pair_room(len(first), len(second), room)
        columns["truncated"].append(len(first) + len(second) > room)
        first, second = cut(first, rooms[0], limits.truncation), cut(second, rooms[1], limits.truncation)
        columns["input_ids"].append(frame.around(first, second))
        if frame.type_ids is not None:
            columns["token_type_ids"].append(frame.types(len(first), len(second)))
    return columns


def pad(
    features: Sequence[Features], tokenizer: PreTrainedTokenizerBase, pad_to_multiple_of: int | None = None
) -> dict[str, Tensor]:
    """The forward inputs that the tokenizer's model knows, padded to the longest example."""
    known = tokenizer.model_input_names
    columns = {"input_ids": pad_column(features, "input_ids", tokenizer, pad_to_multiple_of)}
    if "token_type_ids" in features[0]:
        columns["token_type_ids"] = pad_column(features, "token_type_ids", tokenizer, pad_to_multiple_of)
    if "attention_mask" in known:
        ones = [{"attention_mask": np.ones(len(f["input_ids"]), dtype=np.int64)} for f in features]
        columns["attention_mask"] = pad_column(ones, "attention_mask", tokenizer, pad_to_multiple_of)
    return columns


def pad_column(
    features: Sequence[Features],
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    pad_to_multiple_of: int | None = None,
    fill: int = 0,
) -> Tensor:
    """One ragged column as a (batch, length) int64 tensor; `input_ids` are filled with the pad token."""
    import torch

    if name == "input_ids":
        if tokenizer.pad_token_id is None:
            raise ValueError(f"tokenizer {tokenizer.name_or_path!r} has no pad token")
        fill = tokenizer.pad_token_id
    lengths = [len(f[name]) for f in features]
    multiple = pad_to_multiple_of or 1
    width = -(-max(lengths) // multiple) * multiple
    filled = np.full((len(features), width), fill, dtype=np.int64)
    left = tokenizer.padding_side == "left"
    for line, feature, length in zip(filled, features, lengths, strict=True):
        line[width - length if left else 0 : width if left else length] = feature[name]
    return torch.from_numpy(filled)
