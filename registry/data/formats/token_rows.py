"""CSV and TSV for token tasks: a token a row, or lists written in cells."""

from __future__ import annotations

import ast
import io
import itertools
import json
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from registry.data.formats.chunks import Chunk, gather
from registry.data.formats.column_files import Sentence, gather_sentences
from registry.data.formats.delimited import SAMPLE, Row, read_cells, read_delimited, read_header
from registry.data.source import FileFormat

SENTENCE_COLUMNS = ("sentence #", "sentence_id", "sent_id", "sentence_idx", "sentence", "sentence_number")
"""Names (in lower case) of a column that numbers sentences."""

LONGEST = 5_000
"""Tokens of a sentence above which something must have been missed that divides sentences."""


def read_token_rows(path: Path, format: FileFormat, default_separator: str) -> Iterator[Chunk]:
    """One row a sentence of a table with a token a row; an empty line or another sentence number divides them.

    Raises:
        ValueError: ragged rows, or nothing that divides the sentences.
    """
    lines = read_cells(path, format, default_separator)
    names: Sequence[str] = format.columns or read_header(path, lines)
    divider = next((i for i, name in enumerate(names) if _divides(name, format.sentence)), None)
    if format.sentence and divider is None:
        raise ValueError(f"{path}: no column {format.sentence!r}; there are {', '.join(names)}")
    yield from gather_sentences(path, _plausible(path, _sentences(lines, divider), names), names, format)


def list_columns(path: Path, format: FileFormat, default_separator: str) -> list[str]:
    """The columns whose cells are lists ('["EU", "rejects"]'): most of those not empty, in the first rows."""
    rows = read_cells(path, format, default_separator)
    names = format.columns or read_header(path, rows)
    filled, lists = Counter[str](), Counter[str]()
    for _, cells in itertools.islice(rows, SAMPLE):
        filled.update(name for name, cell in zip(names, cells, strict=False) if cell)
        lists.update(name for name, cell in zip(names, cells, strict=False) if _has_brackets(cell))
    return [name for name in names if lists[name] * 2 > filled[name]]


def read_list_cells(path: Path, format: FileFormat, default_separator: str, names: Sequence[str]) -> Iterator[Chunk]:
    """Rows of a table, of which the columns `names` hold lists in JSON or Python's notation; others are left out.

    A cell that is no list of strings is noted as `Chunk.mixed`, since nobody may ask for its column.
    """
    wrong: dict[str, str] = {}

    def parsed(place: int, cells: Sequence[str]) -> Iterator[list[str | None]]:
        for name, cell in zip(names, cells, strict=True):
            try:
                yield _parse(cell)
            except ValueError as error:
                wrong.setdefault(name, f"line {place}: {error}")
                yield []

    for chunk in read_delimited(path, format, default_separator):
        rows = zip(chunk.places, *(chunk.table[name].to_pylist() for name in names), strict=True)
        lists = ((place, list(parsed(place, cells))) for place, *cells in rows)
        for part in gather(lists, names, pa.list_(pa.string())):
            yield replace(part, mixed=wrong)


def _has_brackets(cell: str) -> bool:
    bare = cell.strip()
    return bare.startswith("[") and bare.endswith("]")


def _parse(cell: str) -> list[str | None]:
    for parse in (json.loads, ast.literal_eval):
        try:
            found: Any = parse(cell)
        except (ValueError, SyntaxError):
            continue
        if isinstance(found, list):
            joined = parse is ast.literal_eval and _strings(cell) > len(found)  # as Python does where no comma stands
            if joined:
                missing = "its items have no commas between them, as numpy prints arrays"
                raise ValueError(f"{cell[:40]!r}: {missing}; write lists, or JSON lines")
            return [item if item is None else str(item) for item in found]
    raise ValueError(f'{cell[:40]!r} is not a list such as ["a", "b"]')


def _strings(cell: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(cell).readline)
    return sum(token.type == tokenize.STRING for token in tokens)


def _sentences(rows: Iterator[Row], divider: int | None) -> Iterator[Sentence]:
    """Rows put together up to an empty one, or until the column `divider` has another value that is not empty."""
    current = ""
    tokens: Sentence = []
    for line, cells in rows:
        blank = not any(cells)
        value = cells[divider] if divider is not None and divider < len(cells) else ""
        if tokens and (blank or (value and value != current)):
            yield tokens
            tokens = []
        if not blank:
            current = value or current
            tokens.append((line, cells))
    if tokens:
        yield tokens


def _plausible(path: Path, sentences: Iterator[Sentence], names: Sequence[str]) -> Iterator[Sentence]:
    for sentence in sentences:
        if len(sentence) > LONGEST:
            what = f"over {LONGEST} tokens in one sentence; name the column that numbers sentences: --sentence-column"
            raise ValueError(f"{path}, line {sentence[0][0]}: {what} ({', '.join(names)})")
        yield sentence


def _divides(name: str, asked: str) -> bool:
    return name == asked if asked else name.lower() in SENTENCE_COLUMNS
