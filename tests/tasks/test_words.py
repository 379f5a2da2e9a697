"""Words keep their pieces in every tokenizer; windows cover everything once."""

from __future__ import annotations

import random

import pytest
from tokenizers_of_all_kinds import byte_level, characters, gemma, unigram, wordpiece
from transformers import PreTrainedTokenizerBase

from registry.tasks.words import joined_words, split_words, windows, word_pieces

SENTENCES = [["John", "Smith", "isn't", "\u200b", "unbelievable", "2,427", "."], [], ["当", "希", "J"]]


def test_every_word_has_pieces(any_tokenizer: PreTrainedTokenizerBase) -> None:
    pieces = word_pieces(any_tokenizer, SENTENCES, spaced=True)
    assert [len(words) for words in pieces] == [len(words) for words in SENTENCES]
    assert all(ids for words in pieces for ids in words)


@pytest.mark.parametrize("build", [wordpiece, byte_level, unigram, gemma])
def test_pieces_are_those_of_the_sentence(build: object) -> None:
    tokenizer = build()  # type: ignore[operator]
    words = ["John", "Smith", "works", "for", "the", "Red", "Cross"]
    [pieces] = word_pieces(tokenizer, [words], spaced=True)
    text = " " + " ".join(words) if build in (byte_level, gemma) else " ".join(words)
    assert [i for ids in pieces for i in ids] == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_characters_are_not_given_spaces() -> None:
    tokenizer = byte_level()
    [pieces] = word_pieces(tokenizer, [["a", "b"]], spaced=False)
    assert tokenizer.convert_ids_to_tokens([i for ids in pieces for i in ids]) == ["a", "b"]
    tokenizer = unigram()
    [pieces] = word_pieces(tokenizer, [["当", "希"]], spaced=False)
    assert all(tokenizer.convert_ids_to_tokens(ids)[0] != "▁" for ids in pieces)
    assert word_pieces(characters(), [["当", "希"]], spaced=False)[0] == [
        characters()("当", add_special_tokens=False)["input_ids"],
        characters()("希", add_special_tokens=False)["input_ids"],
    ]


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_windows_cover_every_word_once_and_fit(overlap: float) -> None:
    draw = random.Random(2)
    for _ in range(300):
        room = draw.randint(2, 20)
        lengths = [draw.randint(1, room) for _ in range(draw.randint(0, 40))]
        found = list(windows(lengths, room, overlap))
        owned = [word for window in found for word in range(window.owned_first, window.owned_last)]
        assert owned == list(range(len(lengths)))
        for window in found:
            assert sum(lengths[window.first : window.last]) <= room
            assert window.first <= window.owned_first <= window.owned_last <= window.last


def test_words_at_a_border_have_context_on_both_sides() -> None:
    first, second, third = windows([1] * 20, 10, 0.5)
    assert (first.first, first.last, second.first, second.last, third.first, third.last) == (0, 10, 5, 15, 10, 20)
    assert (first.owned_last, second.owned_first, second.owned_last) == (7, 7, 12)


def test_typed_text_is_split_with_offsets() -> None:
    text = "John's U.S. visit, on 2,427 days: well-known!"
    words, starts = split_words(text)
    assert words == ["John", "'s", "U.S.", "visit", ",", "on", "2,427", "days", ":", "well-known", "!"]
    assert all(text[start : start + len(word)] == word for word, start in zip(words, starts, strict=True))
    assert split_words("当 希a", characters=True) == (["当", "希", "a"], [0, 2, 3])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("राहुल गांधी, दिल्ली", ["राहुल", "गांधी", ",", "दिल्ली"]),
        ("ராகுல் காந்தி", ["ராகுல்", "காந்தி"]),
        ("ที่นี่ น้ำ", ["ที่นี่", "น้ำ"]),
        ("שָׁלוֹם עוֹלָם", ["שָׁלוֹם", "עוֹלָם"]),
        ("Jose\u0301-Mari\u0301a's cafe\u0301", ["Jose\u0301-Mari\u0301a", "'s", "cafe\u0301"]),
        ("می\u200cخواهم بروم", ["می\u200cخواهم", "بروم"]),
    ],
)
def test_marks_and_joiners_stay_in_their_word(text: str, words: list[str]) -> None:
    assert split_words(text)[0] == words


def test_english_and_german_are_split_as_ever() -> None:
    text = "Ms. O’Neill's ½-inch, 20 m² café (z.B. Straßen_Bau & AT&T) costs 3.50€ – isn't it?"
    words = ["Ms", ".", "O", "’", "Neill", "'s", "½-inch", ",", "20", "m²", "café", "(", "z.B.", "Straßen_Bau", "&"]
    words += ["AT&T", ")", "costs", "3.50", "€", "–", "isn", "'t", "it", "?"]
    assert split_words(text)[0] == words


def test_words_are_joined_with_offsets() -> None:
    assert joined_words(["New", "York", "."], spaced=True) == ("New York .", [0, 4, 9])
    assert joined_words(["当", "希"], spaced=False) == ("当希", [0, 1])
