"""File formats: a path and a FileFormat become chunks of rows. One module a format."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path

from registry.data.formats.chunks import Chunk
from registry.data.source import FileFormat
from registry.options import FORMATS

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".txt": "text",
    ".text": "text",
    ".conll": "conll",
    ".conllu": "conllu",
    ".bio": "conll",
    ".iob": "conll",
}


def read_chunks(path: Path, format: FileFormat, lists: bool = False) -> Iterator[Chunk]:
    """The rows of one file; `lists` where a row must hold lists of tokens: .txt and unknown suffixes are column files.

    Raises:
        ValueError: names the file and, where one is at fault, the line or row.
    """
    kind = format.kind or _detect(path, lists)
    if kind == "parquet":
        from registry.data.formats.parquet import read_parquet

        return read_parquet(path, format)
    if kind in ("json", "jsonl"):
        from registry.data.formats import json_files

        return json_files.read_json(path, format, lists) if kind == "json" else json_files.read_json_lines(path, format)
    if kind in ("csv", "tsv"):
        return _read_table(path, format, "\t" if kind == "tsv" else "", lists)
    if kind in ("conll", "conllu"):
        from registry.data.formats import column_files

        return (column_files.read_conllu if kind == "conllu" else column_files.read_column_file)(path, format)
    from registry.data.formats import text

    if kind == "first-blank":
        return text.read_first_blank(path, format)
    if kind == "text":
        return text.read_text(path, format)
    if kind == "folder":
        return text.read_folder(path, format)
    raise ValueError(f"--file-format: {kind!r} is not one of {', '.join(FORMATS)}")


def _read_table(path: Path, format: FileFormat, separator: str, lists: bool) -> Iterator[Chunk]:
    from registry.data.formats import delimited, token_rows

    if not lists:
        return delimited.read_delimited(path, format, separator)
    if names := token_rows.list_columns(path, format, separator):
        return token_rows.read_list_cells(path, format, separator, names)
    return token_rows.read_token_rows(path, format, separator)


def suffix_kind(path: Path) -> str:
    """The kind that a file's suffix says; empty: none."""
    from registry.data.formats.lines import plain_suffix

    return _SUFFIXES.get(plain_suffix(path), "")


def _detect(path: Path, lists: bool) -> str:
    kind = suffix_kind(path)
    if lists and kind in ("", "text"):
        return "conll"
    if not kind:
        known = ", ".join(_SUFFIXES)
        raise ValueError(f"{path}: the suffix says no format ({known}, or one of these compressed); say --file-format")
    return kind


def expand(pattern: str, folders: bool = False) -> list[Path]:
    """The files, or with `folders` the folders, that a path or glob names, sorted.

    Raises:
        ValueError: there is none.
    """
    fits = Path.is_dir if folders else Path.is_file
    if fits(Path(pattern)):
        return [Path(pattern)]
    found = sorted(path for path in map(Path, glob.glob(pattern, recursive=True)) if fits(path))
    if not found:
        raise ValueError(f"{pattern}: no such {'folder' if folders else 'file'}")
    return found
