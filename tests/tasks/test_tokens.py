"""Framing, truncation and padding agree with the tokenizers' own, and go where they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers_of_all_kinds import TEXTS, canine, esm
from transformers import PreTrainedTokenizerBase

from registry.tasks.base import Limits
from registry.tasks.tokens import cut, encode_texts, frame_of, pad, pair_room


def test_single_texts_equal_the_tokenizers_own(any_tokenizer: PreTrainedTokenizerBase) -> None:
    ours = encode_texts(any_tokenizer, TEXTS, None, Limits(12))
    theirs = any_tokenizer(list(TEXTS), truncation=True, max_length=12)
    assert ours["input_ids"] == theirs["input_ids"]
    assert ours["truncated"] == [len(any_tokenizer(text)["input_ids"]) > 12 for text in TEXTS]


@pytest.mark.parametrize("max_length", [9, 14, 40])
def test_pairs_equal_the_tokenizers_own(any_tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    pairs = [TEXTS[1], "short", TEXTS[0], "a b c d"]
    ours = encode_texts(any_tokenizer, TEXTS, pairs, Limits(max_length))
    theirs = any_tokenizer(list(TEXTS), pairs, truncation="longest_first", max_length=max_length)
    assert [len(ids) for ids in ours["input_ids"]] == [len(ids) for ids in theirs["input_ids"]]
    differing = sum(a != b for a, b in zip(ours["input_ids"], theirs["input_ids"], strict=True))
    # Where an odd number of tokens is shared out, either text may get the last one.
    assert differing <= sum(ours["truncated"])
    if "token_type_ids" in any_tokenizer.model_input_names:
        types = [t for t, cut in zip(ours["token_type_ids"], ours["truncated"], strict=True) if not cut]
        assert types == [t for t, cut in zip(theirs["token_type_ids"], ours["truncated"], strict=True) if not cut]
    else:
        assert "token_type_ids" not in ours


def test_truncation_keeps_the_named_part() -> None:
    ids = list(range(20))
    assert cut(ids, 8, "head") == list(range(8))
    assert cut(ids, 8, "tail") == list(range(12, 20))
    assert cut(ids, 8, "head-tail") == [0, 1, *range(14, 20)]
    assert cut(ids, 20, "tail") == ids


@pytest.mark.parametrize(
    ("lengths", "rooms"), [((3, 4), (3, 4)), ((10, 2), (6, 2)), ((2, 10), (2, 6)), ((9, 9), (4, 4)), ((5, 4), (4, 4))]
)
def test_the_longer_text_of_a_pair_gives_first(lengths: tuple[int, int], rooms: tuple[int, int]) -> None:
    assert pair_room(*lengths, 8) == rooms


def test_no_room_is_said_in_one_line(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="--max-length 3 leaves no room beside 2 special tokens"):
        encode_texts(tokenizer, ["a"], None, Limits(3))


def test_padding_follows_the_tokenizers_side(tokenizer: PreTrainedTokenizerBase) -> None:
    features = [{"input_ids": [2, 9, 3]}, {"input_ids": [2, 3]}]
    right = pad(features, tokenizer, pad_to_multiple_of=4)
    assert right["input_ids"].tolist() == [[2, 9, 3, 0], [2, 3, 0, 0]]
    assert right["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]
    tokenizer.padding_side = "left"
    try:
        assert pad(features, tokenizer)["input_ids"].tolist() == [[2, 9, 3], [0, 2, 3]]
    finally:
        tokenizer.padding_side = "right"


@pytest.mark.parametrize("pairs", [None, ["good </s>", "a"]])
def test_only_the_frame_has_the_token_of_the_end(
    any_tokenizer: PreTrainedTokenizerBase, pairs: list[str] | None
) -> None:
    frame, end = frame_of(any_tokenizer, pair=pairs is not None), any_tokenizer.eos_token_id
    ids = encode_texts(any_tokenizer, ["bad </s> film</s>", "</s>"], pairs, Limits(40))["input_ids"]
    if end in frame.suffix:
        assert [one.count(end) for one in ids] == [frame.around([]).count(end)] * 2
        assert len(ids[0]) > frame.size + 2  # the rest of the text is there
    else:
        theirs = any_tokenizer(["bad </s> film</s>", "</s>"], pairs)["input_ids"]
        assert ids == theirs


def test_a_frame_of_nothing() -> None:
    from tokenizers_of_all_kinds import gpt2

    assert frame_of(gpt2()).size == 0


@pytest.mark.parametrize("pairs", [None, ["", "b"]])
def test_an_empty_text_is_a_token_where_nothing_is_put_around_it(pairs: list[str] | None) -> None:
    from tokenizers_of_all_kinds import gpt2

    tokenizer = gpt2()
    encoded = encode_texts(tokenizer, ["", ""], pairs, Limits(8))
    b = tokenizer("b")["input_ids"]
    assert encoded["input_ids"] == [[tokenizer.unk_token_id], b if pairs else [tokenizer.unk_token_id]]


@pytest.mark.parametrize("kind", ["canine", "esm"])
@pytest.mark.parametrize("pairs", [None, ["L A G", "V S", "K"]])
def test_tokenizers_written_in_python_frame_as_they_do(kind: str, pairs: list[str] | None, tmp_path: Path) -> None:
    tokenizer = canine() if kind == "canine" else esm(tmp_path)
    texts = ["M K V", "L", "A G A G A"]
    ours, theirs = encode_texts(tokenizer, texts, pairs, Limits(40)), tokenizer(texts, pairs)
    assert ours["input_ids"] == theirs["input_ids"]
    if pairs and "token_type_ids" in tokenizer.model_input_names:
        assert ours["token_type_ids"] == theirs["token_type_ids"]
    else:
        assert "token_type_ids" not in ours
    assert [len(ids) for ids in encode_texts(tokenizer, ["A G A G A G A G"], None, Limits(6))["input_ids"]] == [6]
