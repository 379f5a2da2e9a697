"""What every reader yields: some rows of a file as an Arrow table of strings, with the lines they stood on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

CHUNK = 20_000
"""Rows a chunk: enough to amortise Arrow's overhead, few enough to bound memory."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows. `places` are the rows' numbers in the file, counted in `unit` ("line" or "row")."""

    table: pa.Table
    places: Sequence[int]
    unit: str = "line"


def gather(rows: Iterable[tuple[int, Sequence[Any]]], columns: Sequence[str], kind: pa.DataType) -> Iterator[Chunk]:
    """Chunks of rows that come as (place, one cell a column); all columns have the same type."""
    schema = pa.schema([(name, kind) for name in columns])
    places: list[int] = []
    cells: list[Sequence[Any]] = []
    for place, row in rows:
        places.append(place)
        cells.append(row)
        if len(cells) == CHUNK:
            yield Chunk(_table(cells, schema), places)
            places, cells = [], []
    if cells:
        yield Chunk(_table(cells, schema), places)


def from_columns(columns: Mapping[str, pa.Array], places: Sequence[int], unit: str = "line") -> Chunk:
    """A chunk of ready columns."""
    return Chunk(pa.table(dict(columns)), places, unit)


def _table(cells: list[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    columns = [pa.array(column, field.type) for column, field in zip(zip(*cells, strict=True), schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)
