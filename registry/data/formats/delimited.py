"""CSV, TSV and other files with one row a line and cells between separators."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa

from registry.data.formats.chunks import Chunk, Ragged, gather
from registry.data.formats.lines import open_text, split_cells
from registry.data.source import FileFormat

SAMPLE = 10_000
"""Lines of a file that show how it is written."""

csv.field_size_limit(16 * 1024 * 1024)  # an unclosed quotation mark ends here, not at the end of memory

_SEPARATOR_LINE = re.compile(r'"?sep=(.?)"?\s*$', re.IGNORECASE)
"""A first line for Excel ("sep=;"); where it was already split, nothing follows the sign."""

Row = tuple[int, list[str]]
"""The line it stands on, and its cells."""


def read_delimited(path: Path, format: FileFormat, default_separator: str = "") -> Iterator[Chunk]:
    """Rows of a delimited file as string columns; the first line names them unless the format does.

    Raises:
        ValueError: a row has more or fewer cells than there are columns, or broken quotes; names the line.
    """
    rows = read_cells(path, format, default_separator)
    if format.columns:
        names: Sequence[str] = format.columns
    else:
        names = read_header(path, rows)
    yield from gather(_even(rows, names, Ragged(path, format.drop_invalid)), names, pa.string())


def read_cells(path: Path, format: FileFormat, default_separator: str = "") -> Iterator[Row]:
    """(number of the row's last line, its cells); an empty line is an empty list."""
    separator = format.separator or default_separator or _separator(path, format)
    quoted = separator != " " and _quoted(path, format, separator)
    with open_text(path, format, newline="" if quoted else "\n") as text:
        yield from _read_quoted(path, text, separator) if quoted else _read_plain(text, separator)


def _read_quoted(path: Path, text: IO[str], separator: str) -> Iterator[Row]:
    if len(separator) != 1:
        raise ValueError(f"{path}: a separator is one character, not {separator!r}")
    reader = csv.reader(text, delimiter=separator, strict=True)
    while True:
        began = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"{path}, line {began}: {error} (is a quotation mark unclosed?)") from None
        yield reader.line_num, cells


def _read_plain(text: IO[str], separator: str) -> Iterator[Row]:
    for number, line in enumerate(text, 1):
        bare = line.rstrip("\r\n")
        yield number, split_cells(bare, separator) if bare else []


def read_header(path: Path, rows: Iterator[Row]) -> list[str]:
    """The names in the first line that is not empty; columns without one are "column 1", … by their place."""
    for number, cells in rows:
        if not cells or (number == 1 and _SEPARATOR_LINE.match(cells[0])):
            continue
        names = [cell.strip() or f"column {place}" for place, cell in enumerate(cells, 1)]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"{path}, line {number}: column {twice[0]!r} is named twice")
        return names
    raise ValueError(f"{path}: the file is empty")


def _even(rows: Iterator[Row], names: Sequence[str], ragged: Ragged) -> Iterator[Row]:
    width = len(names)
    for number, cells in rows:
        if len(cells) == width:
            yield number, cells
        elif cells:
            ragged.add(number, f"{len(cells)} cells where the {width} columns {', '.join(names)} are expected")
        elif width == 1:  # an empty line is an empty cell here, and reported as such
            yield number, [""]
    ragged.say()


def _separator(path: Path, format: FileFormat) -> str:
    with open_text(path, format) as text:
        first = text.readline()
    said = _SEPARATOR_LINE.match(first)
    if said and said[1]:
        return said[1]
    found = {mark: first.count(mark) for mark in (",", ";", "\t", "|")}
    best = max(found, key=lambda mark: found[mark])
    return best if found[best] else ","


def _quoted(path: Path, format: FileFormat, separator: str) -> bool:
    """Tab-separated files rarely quote; they do where every cell with a quotation mark is quoted properly, or where
    only quotes around line breaks give all rows the same number of cells."""
    if format.quoting is not None or separator != "\t":
        return format.quoting is not False
    widths: set[int] = set()
    marked: list[str] = []
    with open_text(path, format, newline="\n") as text:
        for _, cells in itertools.islice(_read_plain(text, separator), SAMPLE):
            if cells:
                widths.add(len(cells))
                marked += [cell for cell in cells if '"' in cell]
    if not marked or all(_is_quoted(cell) for cell in marked):
        return bool(marked)
    return len(widths) > 1 and _is_even_when_quoted(path, format, separator)


def _is_even_when_quoted(path: Path, format: FileFormat, separator: str) -> bool:
    with open_text(path, format, newline="") as text:
        rows = itertools.islice(csv.reader(text, delimiter=separator, strict=True), SAMPLE)
        try:
            return len({len(cells) for cells in rows if cells}) == 1
        except csv.Error:
            return False


def _is_quoted(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "")
