"""Column files (CoNLL): a token a line, its annotations in further columns, empty lines between sentences."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from registry.data.formats.chunks import Chunk, Ragged, gather
from registry.data.formats.delimited import Row
from registry.data.formats.lines import open_text, split_cells
from registry.data.source import FileFormat

Sentence = list[Row]
"""Its tokens."""

DOCUMENT = "-DOCSTART-"
"""Begins a line between documents that is no token."""

_KEYS = "(id|sent_id|text|newdoc|newpar)"
_COMMENT = re.compile(rf"# {_KEYS}\b.*[ =]\S+\s*$|# *{_KEYS} *=")
"""Without the blank or the equals sign it is a hashtag ("#text O"), which is a token."""

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""Columns of CoNLL-U (universaldependencies.org/format.html)."""


def read_column_file(path: Path, format: FileFormat) -> Iterator[Chunk]:
    """One row a sentence; every column is a list of strings, one a token. Without names they are "0", "1", ….

    Raises:
        ValueError: a line has another number of columns than the first one; names the line.
    """
    separator = format.separator or _separator(path, format)
    with open_text(path, format, newline="\n") as text:
        names: Sequence[str] = format.columns
        if format.header:
            names = split_cells(text.readline().rstrip("\r\n"), separator)
        sentences = _sentences(enumerate(text, 1 + format.header), separator)
        yield from gather_sentences(path, sentences, names, format)


def read_conllu(path: Path, format: FileFormat) -> Iterator[Chunk]:
    """One row a sentence of a CoNLL-U file, word by word: no comments, ranges of words (1-2) or unwritten ones (1.1).

    Its ten columns have their names and the tab between them from the standard, whatever the format says.

    Raises:
        ValueError: a line has other than ten columns; names the line.
    """
    with open_text(path, format, newline="\n") as text:
        lines = ((number, line) for number, line in enumerate(text, 1) if _is_word(line))
        yield from gather_sentences(path, _sentences(lines, "\t"), CONLLU, format)


def gather_sentences(
    path: Path, sentences: Iterator[Sentence], names: Sequence[str], format: FileFormat
) -> Iterator[Chunk]:
    """Chunks with a row a sentence; without names the columns are "0", "1", ….

    Raises:
        ValueError: a token has more or fewer cells than there are columns; names the line.
    """
    first = next(sentences, None)
    if first is None:
        return
    names = names or [str(index) for index in range(len(first[0][1]))]
    even = _even(itertools.chain([first], sentences), len(names), Ragged(path, format.drop_invalid))
    columns = ((tokens[0][0], list(map(list, zip(*(cells for _, cells in tokens), strict=True)))) for tokens in even)
    yield from gather(columns, names, pa.list_(pa.string()))


def _even(sentences: Iterable[Sentence], width: int, ragged: Ragged) -> Iterator[Sentence]:
    for tokens in sentences:
        wrong = next(((line, len(cells)) for line, cells in tokens if len(cells) != width), None)
        if wrong is None:
            yield tokens
        else:
            ragged.add(wrong[0], f"{wrong[1]} columns, where {width} are expected")
    ragged.say()


def _sentences(lines: Iterable[tuple[int, str]], separator: str) -> Iterator[Sentence]:
    tokens: Sentence = []
    for number, content in lines:
        if content.isspace() or _is_no_token(content):
            if tokens:
                yield tokens
            tokens = []
        else:
            tokens.append((number, split_cells(content.rstrip("\r\n"), separator)))
    if tokens:
        yield tokens


def _is_word(line: str) -> bool:
    """Whether a line of CoNLL-U is a word, or ends a sentence."""
    return not re.match(r"#|\d+[-.]\d", line)


def _is_no_token(line: str) -> bool:
    """Whether a line begins a document, or is a comment of MultiCoNER ("# id 7 domain=en") or CoNLL-U."""
    return line.startswith(DOCUMENT) or bool(_COMMENT.match(line))


def _separator(path: Path, format: FileFormat) -> str:
    """A tab where the first token's line has one (a token may then be a blank), else runs of blanks."""
    with open_text(path, format) as text:
        for line in text:
            if line.strip() and not _is_no_token(line):
                return "\t" if "\t" in line.strip() else " "
    return " "
