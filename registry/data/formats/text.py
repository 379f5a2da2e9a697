"""Plain text: a row a line, whole or divided at the first blank, or a row a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from registry.data.formats.chunks import Chunk, gather
from registry.data.formats.lines import open_text, read_lines
from registry.data.source import FileFormat


def read_text(path: Path, format: FileFormat) -> Iterator[Chunk]:
    """Every line as a row of the column "text"; blank ones only divide paragraphs, unless the format keeps them."""
    rows = ((number, [line]) for number, line in read_lines(path, format) if format.keep_blank or line.strip())
    yield from gather(rows, ["text"], pa.string())


def read_first_blank(path: Path, format: FileFormat) -> Iterator[Chunk]:
    """Two columns that the first blank of each line divides ("department question with blanks").

    Raises:
        ValueError: a line has no blank.
    """

    def rows() -> Iterator[tuple[int, Sequence[str]]]:
        for number, line in read_lines(path, format):
            cells = line.split(None, 1)
            if len(cells) == 1:
                raise ValueError(f"{path}, line {number}: no blank divides {cells[0][:40]!r} into two columns")
            if cells:
                yield number, cells

    yield from gather(rows(), format.columns or ("0", "1"), pa.string())


def read_folder(path: Path, format: FileFormat) -> Iterator[Chunk]:
    """Every .txt file of a folder, by name, as a row: its `text`, and the folder's name as `label`."""

    def rows() -> Iterator[tuple[int, Sequence[str]]]:
        for number, file in enumerate(sorted(path.glob("*.txt")), 1):
            with open_text(file, format) as text:
                yield number, [text.read().rstrip("\r\n"), path.name]

    for chunk in gather(rows(), ("text", "label"), pa.string()):
        yield replace(chunk, unit="file")
