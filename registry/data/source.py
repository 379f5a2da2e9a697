"""Where rows come from: the Hub, a local copy in the publisher's layout, or a person's own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from registry.options import Data


@dataclass(frozen=True)
class FileFormat:
    """How the rows of a file are written, as far as its suffix and first line do not say it.

    Args:
        kind: "csv", "tsv", "jsonl", "json", "parquet", "text" (a row is a line), "first-blank" (two
            columns, split at the first blank), "conll" (a token a line, blank lines between
            sentences), "conllu" (its ten columns by name) or "folder" (a row is a text file, its label the
            name of its folder); empty: by the file's suffix.
        separator: between cells; empty: by kind and first line; " " is any run of blanks.
        quoting: whether quotation marks quote cells; None: in CSV yes, in TSV where all of them do.
        columns: names of the columns where the first line is a row already. Column files without
            names have the columns "0", "1", … and "-1", "-2", … from the end. In JSON: of rows that are arrays.
        keys: of a JSON object, whose rows are read one after the other.
        header: a column file's first line names its columns.
        sentence: column whose value changes where a sentence begins, in files with one token a row.
        encoding: of text files.
        drop_invalid: leave ragged rows out and say how many, and read bytes that are not of that encoding as U+FFFD;
            else they are an error.
        keep_blank: a blank line of plain text is a row too, as where rows are joined by their number afterwards.
    """

    kind: str = ""
    separator: str = ""
    quoting: bool | None = None
    columns: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    header: bool = False
    sentence: str = ""
    encoding: str = "utf-8"
    drop_invalid: bool = False
    keep_blank: bool = False


@dataclass(frozen=True)
class LocalFile:
    """A split's file (or glob) in a publisher's layout, where its suffix does not say how it is written.

    Args:
        cells: column -> cell -> what it stands for ({"label": {"1": "World"}}).
    """

    path: str
    format: FileFormat = FileFormat()
    cells: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


Local = Mapping[str, "str | LocalFile"]
"""Split -> file or glob below --data-dir."""

Roles = Mapping[str, "str | Sequence[str]"]
"""Canonical column -> its name in the source, or the names it may have there (then one of them must be found).

A name "a,b,c" that no column has stands for several: of texts, which are joined by blanks, or indicator
columns, which give the row's list of those that are set.
"""


@dataclass(frozen=True)
class Source:
    """One place to read raw splits from, and what to do with them before a task sees them.

    Exactly one kind is used: `files` where given (a person's own), else `data_dir` where given (the
    publisher's layout or a parquet folder), else the task's Hub data set.

    Args:
        data_dir: local copy of the task's data.
        files: split -> path or glob of a person's own files.
        columns: role ("text", "label", …) -> column name, overriding the task's.
        revision: Hub commit, tag or branch of the data set.
        format: of `files`.
    """

    data_dir: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None
    format: FileFormat = FileFormat()


def source_of(data: Data, drop_invalid: bool = False) -> Source:
    """The source that a person's options name.

    Args:
        drop_invalid: read on where a row is ragged, or bytes are not of the encoding; `prepare` leaves the latter out.

    Raises:
        ValueError: files for other splits but none to train on.
    """
    files = {"train": data.train_file, "validation": data.validation_file, "test": data.test_file}
    given = {split: path for split, path in files.items() if path}
    if given and not data.train_file:
        raise ValueError(f"--{next(iter(given))}-file needs --train-file beside it")
    roles = ("text", "text_pair", "label", "tokens", "tags")
    columns = {role: getattr(data, f"{role}_column") for role in roles}
    return Source(
        data_dir=data.data_dir,
        files=given,
        columns={role: column for role, column in columns.items() if column},
        revision=data.data_revision,
        format=FileFormat(
            kind=data.file_format or "",
            separator=(data.separator or "").replace("\\t", "\t"),
            sentence=data.sentence_column or "",
            encoding=data.encoding,
            drop_invalid=drop_invalid,
        ),
    )
