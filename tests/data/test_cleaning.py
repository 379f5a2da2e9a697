"""Each cleaning step does what its option says, in their order, and to texts and tokens alone."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from registry.data.cleaning import Cleaner, parse_replacement
from registry.options import Cleaning


@pytest.mark.parametrize(
    ("options", "before", "after"),
    [
        ({}, " A  b ", " A  b "),
        ({"strip_html": True}, "so<br />good &amp; <b>bold</b><!-- x > y -->!", "so good &  bold  !"),
        ({"strip_html": True}, "1 < 2 and 3 > 2, <3", "1 < 2 and 3 > 2, <3"),
        ({"unicode": "NFKC"}, "ﬁne ２", "fine 2"),
        ({"unicode": "NFC"}, "e\u0301", "é"),
        ({"lowercase": True}, "ÀB", "àb"),
        ({"strip_punctuation": True}, "well, “yes”。it's", "well yesits"),
        ({"collapse_whitespace": True}, " a\t\n b\u3000c ", "a b c"),
        ({"replace": ["n't= not"]}, "isn't", "is not"),
        ({"replace": [r"(\d+)=<\1>", "<=["]}, "a 12", "a [12>"),
        ({"replace": ["N'T= not"], "lowercase": True}, "ISN'T", "is not"),
        ({"replace": ["a(?=b)=x", r"c\==y"]}, "ab ac c=", "xb ac y"),
        ({"strip_html": True, "collapse_whitespace": True}, "a<br /><br />b", "a b"),
    ],
)
def test_steps(options: dict[str, Any], before: str, after: str) -> None:
    assert Cleaner(Cleaning(**options)).text(before) == after


@pytest.mark.parametrize("text", ["none", "=x", "(=x", r"a=\1", "[a=b"])
def test_bad_replacements_name_the_option(text: str) -> None:
    with pytest.raises(ValueError, match="--replace"):
        parse_replacement(text)


def test_tokens_keep_their_number() -> None:
    cleaner = Cleaner(Cleaning(strip_punctuation=True, lowercase=True))
    assert cleaner.tokens(["EU", ",", "U.S."]) == ["eu", ",", "us"]


def test_blanks_beside_a_gap_stay() -> None:
    cleaner = Cleaner(Cleaning(strip_html=True, lowercase=True, collapse_whitespace=True))
    assert cleaner.around([" A  b ", " ", "-C", "<br>d "]) == ["a b ", " ", "-c", "d"]
    assert cleaner.columns({"around_masks": [["A ", "b"]]}) == {"around_masks": [["a ", "b"]]}


def test_labels_and_missing_texts_stay() -> None:
    cleaner = Cleaner(Cleaning(lowercase=True))
    rows = {"text": ["A", "B"], "text_pair": ["C", None], "label": ["Good", "Bad"]}
    assert cleaner.columns(rows) == {"text": ["a", "b"], "text_pair": ["c", None], "label": ["Good", "Bad"]}
    splits = cleaner.splits(DatasetDict(train=Dataset.from_dict(rows), test=Dataset.from_dict(rows)))
    assert splits["test"].to_dict() == {"text": ["a", "b"], "text_pair": ["c", None], "label": ["Good", "Bad"]}


def test_nothing_asked_changes_nothing() -> None:
    raw = DatasetDict(train=Dataset.from_dict({"text": ["A"]}))
    assert not Cleaner(Cleaning())
    assert Cleaner(Cleaning()).splits(raw) is raw
