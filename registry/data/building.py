"""Chunks of files become a split: canonical columns, row ids, checks that need the file's line; large ones on disk."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from registry.data.formats.chunks import Chunk
from registry.data.places import place_of, remember
from registry.data.roles import LISTS, TEXTS, Choices, Chooser, apply, flag

if TYPE_CHECKING:
    from datasets import Dataset

_NUMBER = re.compile(r"\s*[-+]?(\d+[.,]?\d*|[.,]\d+)([eE][-+]?\d+)?\s*")


def build_split(
    split: str,
    chunks: Iterator[tuple[str, Chunk]],
    chooser: Chooser,
    optional: Collection[str],
    *,
    strict: bool,
) -> Dataset:
    """One split as a data set with `row`, memory-mapped from disk where it is large.

    Args:
        optional: roles that the split may lack.
        strict: refuse a text column that holds only numbers.

    Raises:
        ValueError: see `read`.
    """
    from registry.data.tables import collect

    seen: dict[str, tuple[int, str, list[Sequence[int]]]] = {}
    rows = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal rows
        for table, file, chunk in canonical_tables(chunks, chooser, optional):
            if strict and not rows:
                _refuse_numbers(table, file)
            seen.setdefault(file, (rows, chunk.unit, []))[2].append(chunk.places)
            yield table.append_column("row", pa.array(range(rows, rows + len(table)), pa.int64()))
            rows += len(table)

    dataset = collect(tables())
    if dataset is None:
        raise ValueError(f"{split}: the split holds no rows")
    remember(dataset, [place_of(file, *record) for file, record in seen.items()])
    return dataset


def canonical_tables(
    chunks: Iterator[tuple[str, Chunk]], chooser: Chooser, optional: Collection[str]
) -> Iterator[tuple[pa.Table, str, Chunk]]:
    """(canonical table, file, chunk); columns are chosen anew for every file."""
    file = ""
    choices: Choices = {}
    first: tuple[str, pa.Schema] | None = None
    for name, chunk in chunks:
        if name != file:
            choices = chooser.choose(chunk.table.column_names, optional, name)
            file = name
        table = apply(chunk, choices, file)
        first = first or (file, table.schema)
        table = _as_before(table, file, first)
        _refuse_unequal(table, file, chunk)
        yield table, file, chunk


def fill_missing(splits: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """The splits with the same columns: what a split lacks is None there."""
    types = {name: field for data in splits.values() for name, field in data.features.items()}
    filled = {}
    for split, data in splits.items():
        for name in types.keys() - set(data.column_names):
            info = data.info.copy()
            data = data.add_column(name, pa.nulls(len(data), types[name].pa_type).to_pylist(), feature=types[name])
            data.info.description = info.description
        filled[split] = data
    return filled


def _refuse_numbers(table: pa.Table, file: str) -> None:
    for role in TEXTS:
        if role in table.column_names:
            texts = [text for text in table[role][:1000].to_pylist() if text]
            if texts and all(_NUMBER.fullmatch(text) for text in texts):
                what = f"the column taken as {role} holds only numbers ({texts[0]}, …)"
                raise ValueError(f"{file}: {what}; choose another with {flag(role)}")


def _as_before(table: pa.Table, file: str, first: tuple[str, pa.Schema]) -> pa.Table:
    """The table with the first one's columns and types; a column without any value fits every type."""
    columns = {}
    for field in first[1]:
        column = table[field.name] if field.name in table.column_names else pa.nulls(len(table), field.type)
        if column.null_count == len(table):
            column = pa.nulls(len(table), field.type)
        if column.type != field.type:
            now, before = ("lists", "text") if pa.types.is_list(column.type) else ("text", "lists")
            where = Path(first[0]).name if first[0] != file else "earlier rows"
            raise ValueError(f"{file}: {field.name} holds {now} here and {before} in {where}")
        columns[field.name] = column
    return pa.table(columns)


def _refuse_unequal(table: pa.Table, file: str, chunk: Chunk) -> None:
    """Token and tag lists must be of one length."""
    if not set(LISTS) <= set(table.column_names):
        return
    tokens, tags = (pc.list_value_length(table[role]) for role in LISTS)
    wrong = pc.fill_null(pc.not_equal(tokens, tags), False).to_pylist()
    if True in wrong:
        at = wrong.index(True)
        raise ValueError(
            f"{file}, {chunk.unit} {chunk.places[at]}: {tokens[at]} tokens but {tags[at]} tags; each token needs one"
        )
