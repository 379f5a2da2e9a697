"""Names that are meant, from names that are typed."""

from __future__ import annotations

import pytest

from registry.spelling import close_names

NAMES = ["bart-base", "bert-base-cased", "bert-base-uncased", "bow", "max_length", "roberta-base", "sst2"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("bert-base", ["bert-base-cased", "bert-base-uncased"]),  # not bart-base, which is spelled more alike
        ("SST2", ["sst2"]),
        ("robert-base", ["roberta-base", "bart-base"]),
        ("max_lenght", ["max_length"]),
        ("zzz", []),
        ("", []),
    ],
)
def test_longer_names_come_before_those_spelled_alike(typed: str, meant: list[str]) -> None:
    assert close_names(typed, NAMES)[: len(meant) or None] == meant


def test_there_are_no_more_than_asked_for() -> None:
    assert close_names("b", NAMES, most=2) == ["bow", "bart-base"]
