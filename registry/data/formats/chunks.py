"""What every reader yields: some rows of a file as an Arrow table of strings, with the lines they stood on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

logger = logging.getLogger(__name__)

CHUNK = 20_000
"""Rows a chunk, at most: enough to amortise Arrow's overhead."""

CHUNK_SIZE = 16 * 1024 * 1024
"""Characters after which a chunk ends, so that long rows take no more memory than short ones."""

ITEM_SIZE = 64
"""What an item of a list counts: a short string and the reference to it take about as many bytes in Python."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows. `places` are the rows' numbers in the file, counted in `unit` ("line" or "row").

    Args:
        mixed: column -> where its values change their type: an error only where the column is used.
    """

    table: pa.Table
    places: Sequence[int]
    unit: str = "line"
    mixed: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Ragged:
    """The rows of a file with more or fewer cells than it has columns: an error, or where dropped, counted and said."""

    path: Path
    drop: bool
    rows: int = 0
    first: str = ""

    def add(self, line: int, what: str) -> None:
        """One more of them; ValueError where they are not dropped."""
        if not self.drop:
            raise ValueError(f"{self.path}, line {line}: {what}")
        self.rows += 1
        self.first = self.first or f"line {line}: {what}"

    def say(self) -> None:
        """Warn of what was left out."""
        if self.rows:
            logger.warning("%s: %d ragged rows left out (%s)", self.path, self.rows, self.first)


def gather(rows: Iterable[tuple[int, Sequence[Any]]], columns: Sequence[str], kind: pa.DataType) -> Iterator[Chunk]:
    """Chunks of rows that come as (place, one cell a column); all columns have the same type."""
    schema = pa.schema([(name, kind) for name in columns])
    places: list[int] = []
    cells: list[Sequence[Any]] = []
    size = 0
    for place, row in rows:
        places.append(place)
        cells.append(row)
        size += sum(map(size_of, row))
        if len(cells) == CHUNK or size >= CHUNK_SIZE:
            yield Chunk(_table(cells, schema), places)
            places, cells, size = [], [], 0
    if cells:
        yield Chunk(_table(cells, schema), places)


def size_of(cell: str | list[Any]) -> int:
    """What a cell counts towards `CHUNK_SIZE`."""
    return len(cell) * ITEM_SIZE if isinstance(cell, list) else len(cell)


def rows_of_size(total: int, rows: int) -> int:
    """How many rows make a chunk, where `rows` of them take `total` bytes."""
    return max(1, min(CHUNK, CHUNK_SIZE * rows // max(total, 1)))


def text_array(cells: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Strings or lists of strings as a column; half a surrogate pair, as JSON of cut texts has it, becomes U+FFFD."""
    try:
        return pa.array(cells, kind)
    except UnicodeEncodeError:
        return pa.array([_whole(cell) for cell in cells], kind)


def _whole(cell: Any) -> Any:
    if isinstance(cell, list):
        return [_whole(item) for item in cell]
    return cell and cell.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _table(cells: list[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    columns = [text_array(column, field.type) for column, field in zip(zip(*cells, strict=True), schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)
