"""Column files (CoNLL): a token a line, its annotations in further columns, empty lines between sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from registry.data.formats.chunks import Chunk, gather
from registry.data.formats.delimited import Row, read_cells, read_header
from registry.data.formats.lines import open_text
from registry.data.source import FileFormat

Sentence = tuple[int, list[list[str]]]
"""The line it begins on, and its tokens' cells."""


def read_column_file(path: Path, format: FileFormat) -> Iterator[Chunk]:
    """One row a sentence; every column is a list of strings, one a token. Without names they are "0", "1", ….

    Raises:
        ValueError: a line has another number of columns than the first one; names the line.
    """
    separator = format.separator or _separator(path, format)
    plain = FileFormat(separator=separator, quoting=bool(format.quoting), encoding=format.encoding)
    lines = read_cells(path, plain)
    names: Sequence[str] = format.columns or (read_header(path, lines) if format.header else ())
    sentences = sentences_of(path, lines, len(names))
    yield from gather_sentences(path, sentences, names)


def gather_sentences(path: Path, sentences: Iterator[Sentence], names: Sequence[str]) -> Iterator[Chunk]:
    """Chunks with a row a sentence; without names the columns are "0", "1", …."""
    first = next(sentences, None)
    if first is None:
        raise ValueError(f"{path}: the file holds no rows")
    names = names or [str(index) for index in range(len(first[1][0]))]

    def rows() -> Iterator[tuple[int, Sequence[list[str]]]]:
        yield first[0], _transposed(first[1])
        for place, sentence in sentences:
            yield place, _transposed(sentence)

    yield from gather(rows(), names, pa.list_(pa.string()))


def _transposed(sentence: list[list[str]]) -> list[list[str]]:
    return [list(column) for column in zip(*sentence, strict=True)]


def sentences_of(path: Path, lines: Iterator[Row], width: int, divider: int | None = None) -> Iterator[Sentence]:
    """Lines put together up to an empty one, or until the column `divider` has another value."""
    begin = 0
    current: str | None = None
    sentence: list[list[str]] = []
    for number, cells in lines:
        blank = not any(cells) or cells[0] == "-DOCSTART-"
        value = None if blank or divider is None else cells[divider] if divider < len(cells) else None
        if sentence and (blank or (value and value != current)):
            yield begin, sentence
            sentence = []
        if blank:
            continue
        current = value or current
        width = width or len(cells)
        if len(cells) != width:
            raise ValueError(f"{path}, line {number}: {len(cells)} columns, where {width} are expected")
        if not sentence:
            begin = number
        sentence.append(cells)
    if sentence:
        yield begin, sentence


def _separator(path: Path, format: FileFormat) -> str:
    """A tab where the first token's line has one (a token may then be a blank), else runs of blanks."""
    with open_text(path, format.encoding) as text:
        for line in text:
            if line.strip() and not line.startswith("-DOCSTART-"):
                return "\t" if "\t" in line.strip() else " "
    return " "
