"""What is found in rows before anything is learned from them, and what finding it takes."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset

from registry.data import checks


def rows_of(texts: list[str], labels: list[Any]) -> Dataset:
    return Dataset.from_dict({"text": texts, "label": labels, "row": range(len(texts))})


def test_only_the_conflicts_that_are_named_are_looked_for_in_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def where(rows: Dataset, row: int) -> str:
        asked.append(row)
        return f"row {row}"

    monkeypatch.setattr(checks, "where", where)
    rows = rows_of(list("abcdefg") * 2, ["0"] * 7 + ["1"] * 7)
    count, examples = checks.conflicts(rows, checks.text_hashes(rows))
    assert (count, examples[-1]) == (7, "row 4 and row 11")
    assert asked == [0, 7, 1, 8, 2, 9, 3, 10, 4, 11]


def test_several_labels_have_no_order_and_tags_have_one() -> None:
    several = rows_of(list("abc") * 2, [["x", "y"], ["x"], None, ["y", "x"], ["x", "y"], []])
    assert checks.conflicts(several, checks.text_hashes(several)) == (2, ["row 1 and row 4", "row 2 and row 5"])
    tags = Dataset.from_dict({"tokens": [["a", "b"]] * 2, "tags": [["O", "B-X"], ["B-X", "O"]], "row": [0, 1]})
    assert checks.conflicts(tags, checks.text_hashes(tags)) == (1, ["row 0 and row 1"])
