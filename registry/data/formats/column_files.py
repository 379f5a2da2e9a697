"""Column files (CoNLL): a token a line, its annotations in further columns, empty lines between sentences."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from registry.data.formats.chunks import Chunk, gather
from registry.data.formats.lines import open_text
from registry.data.source import FileFormat

Sentence = tuple[int, list[list[str]]]
"""The line it begins on, and its tokens' cells."""

DOCUMENT = "-DOCSTART-"
"""Begins a line between documents that is no token."""


def read_column_file(path: Path, format: FileFormat) -> Iterator[Chunk]:
    """One row a sentence; every column is a list of strings, one a token. Without names they are "0", "1", ….

    Raises:
        ValueError: a line has another number of columns than the first one; names the line.
    """
    separator = format.separator or _separator(path, format)
    blanks = None if separator == " " else separator
    with open_text(path, format, newline="\n") as text:
        names: Sequence[str] = format.columns
        if format.header:
            names = text.readline().rstrip("\r\n").split(blanks)
        sentences = _sentences(text, blanks, 1 + format.header)
        yield from gather_sentences(path, sentences, names)


def gather_sentences(path: Path, sentences: Iterator[Sentence], names: Sequence[str]) -> Iterator[Chunk]:
    """Chunks with a row a sentence; without names the columns are "0", "1", ….

    Raises:
        ValueError: a token has more or fewer cells than there are columns; names the line.
    """
    first = next(sentences, None)
    if first is None:
        return
    names = names or [str(index) for index in range(len(first[1][0]))]
    width = len(names)

    def rows() -> Iterator[tuple[int, list[list[str]]]]:
        for begin, tokens in itertools.chain([first], sentences):
            for line, cells in enumerate(tokens, begin):
                if len(cells) != width:
                    raise ValueError(f"{path}, line {line}: {len(cells)} columns, where {width} are expected")
            yield begin, [list(column) for column in zip(*tokens, strict=True)]

    yield from gather(rows(), names, pa.list_(pa.string()))


def _sentences(text: Iterable[str], separator: str | None, line: int) -> Iterator[Sentence]:
    begin = line
    tokens: list[list[str]] = []
    for number, content in enumerate(text, line):
        if content.isspace() or content.startswith(DOCUMENT):
            if tokens:
                yield begin, tokens
            begin, tokens = number + 1, []
        else:
            tokens.append(content.rstrip("\r\n").split(separator))
    if tokens:
        yield begin, tokens


def _separator(path: Path, format: FileFormat) -> str:
    """A tab where the first token's line has one (a token may then be a blank), else runs of blanks."""
    with open_text(path, format) as text:
        for line in text:
            if line.strip() and not line.startswith(DOCUMENT):
                return "\t" if "\t" in line.strip() else " "
    return " "
