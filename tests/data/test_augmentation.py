"""Noise is a function of seed, epoch and row, and never pulls tags off their tokens."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from datasets import Dataset

from registry.data.augmentation import Augmenter, misspelt
from registry.options import Augmentation

TEXTS = [f"the film number {i} was not very good , but the story is fine" for i in range(40)]


def texts(epoch: int, seed: int = 1, rows: int = 40, **shares: float) -> list[str]:
    data = Dataset.from_dict({"text": TEXTS[:rows], "label": ["1"] * rows, "row": list(range(rows))})
    return Augmenter(Augmentation(**shares), seed).rows(data, epoch)["text"][:]


def test_same_seed_epoch_and_row_give_the_same_text() -> None:
    shares = {"augment_delete": 0.1, "augment_swap": 0.1, "augment_spelling": 0.1}
    first = texts(0, **shares)
    assert first != TEXTS
    assert texts(0, **shares) == first
    assert texts(0, rows=7, **shares) == first[:7]
    assert texts(1, **shares) != first
    assert texts(0, seed=2, **shares) != first


def test_deletion_takes_its_share_and_leaves_one_word() -> None:
    left = sum(len(text.split()) for text in texts(0, augment_delete=0.25)) / sum(len(t.split()) for t in TEXTS)
    assert left == pytest.approx(0.75, abs=0.05)
    single = Dataset.from_dict({"text": ["word"], "row": [0]})
    assert Augmenter(Augmentation(augment_delete=0.9), 0).rows(single, 0)["text"][:] == ["word"]


def test_swaps_keep_the_words_and_the_blanks_between_them() -> None:
    swapped = texts(0, augment_swap=0.5)
    assert swapped != TEXTS
    assert [Counter(text.split()) for text in swapped] == [Counter(text.split()) for text in TEXTS]
    assert all("  " not in text and text == text.strip() for text in swapped)


def test_spelling_changes_words_but_not_their_number() -> None:
    noisy = texts(0, augment_spelling=0.3)
    assert noisy != TEXTS
    assert [len(text.split()) for text in noisy] == [len(text.split()) for text in TEXTS]


def test_a_script_without_blanks_counts_characters() -> None:
    rows = Dataset.from_dict({"text": ["電影很好看但是故事不好"], "row": [0]})
    shorter = Augmenter(Augmentation(augment_delete=0.4), 3).rows(rows, 0)["text"][0]
    assert 1 <= len(shorter) < 11
    assert set(shorter) < set("電影很好看但是故事不好")


def test_tags_follow_their_tokens_and_entities_stay_whole() -> None:
    tokens = ["Peter", "Blackburn", "saw", "the", "new", "European", "Commission", "today"]
    tags = ["B-PER", "I-PER", "O", "O", "O", "B-ORG", "I-ORG", "O"]
    rows = Dataset.from_dict({"tokens": [tokens] * 50, "tags": [tags] * 50, "row": list(range(50))})
    noisy = Augmenter(Augmentation(augment_delete=0.3, augment_swap=0.5), 0).rows(rows, 0)
    known = dict(zip(tokens, tags, strict=True))
    assert len({tuple(row) for row in noisy["tokens"]}) > 10
    for row in noisy:
        assert row["tags"] == [known[token] for token in row["tokens"]]
        assert [token for token in row["tokens"] if known[token] != "O"] == [*tokens[:2], *tokens[5:7]]
        at = row["tokens"].index("Peter")
        assert row["tokens"][at + 1] == "Blackburn"


def test_misspelt_words_differ_by_one_letter() -> None:
    rng = random.Random(0)
    found = {misspelt("abc ", rng) for _ in range(100)}
    assert found == {"bac ", "acb ", "bc ", "ac ", "aabc ", "abbc "}
    assert misspelt("a", rng) == "a"


def test_off_by_default() -> None:
    assert not Augmenter(Augmentation(), 0)
    assert Augmenter(Augmentation(augment_swap=0.1), 0)
