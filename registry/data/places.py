"""Which file and line a row of a split came from, for messages that a person can act on.

The record travels in the split's `info` (as JSON in its description), which selecting, filtering and
mapping keep.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset


class RowError(ValueError):
    """What is wrong with one row, by its id; who knows the split says with `where` in which file it stands."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(row, message)
        self.row, self.message = row, message

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}"


@dataclass(frozen=True)
class Place:
    """Consecutive rows of one file: row `first_row + i` stands at `first + i`, counted in `unit`."""

    path: str
    first_row: int
    rows: int
    first: int
    unit: str


def place_of(path: str, first_row: int, unit: str, places: Sequence[Sequence[int]]) -> Place:
    """The record of a file whose chunks' rows stood at `places`.

    Where lines do not follow one another (blank ones, cells over several lines) rows are counted instead.
    """
    rows = sum(map(len, places))
    first, last = (places[0][0], places[-1][-1]) if rows else (1, 0)
    exact = last - first == rows - 1
    return Place(path, first_row, rows, first if exact else 1, unit if exact else "row")


def remember(dataset: Dataset, places: Sequence[Place]) -> None:
    """Note in the split where its rows came from."""
    dataset.info.description = json.dumps([asdict(place) for place in places])


def remembered(dataset: Dataset) -> list[Place]:
    """What `remember` noted; empty for rows that came from no file."""
    text = dataset.info.description or ""
    return [Place(**place) for place in json.loads(text)] if text.startswith("[") else []


def where(dataset: Dataset, row: int) -> str:
    """ "reviews.csv, line 3" of a row id; the id itself ("row 0") where no file is known."""
    for place in remembered(dataset):
        offset = row - place.first_row
        if 0 <= offset < place.rows:
            return f"{place.path}, {place.unit} {place.first + offset}"
    return f"row {row}"
