"""Raw splits under canonical column names: from the Hub, a publisher's layout, a parquet folder or own files.

Whatever the source, a column comes out as strings or lists of strings (a label 1 is "1", 2.5 is
"2.5"; classes that a parquet file names are given by name, -1 among them as None), so that tasks
need not know where a row came from. Empty cells of a label or answer column are None.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.data.source import FileFormat, Local, LocalFile, Roles, Source

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from registry.data.formats.chunks import Chunk

SPLITS = ("train", "validation", "test")

BATCH_ROWS = 256
"""Rows that `stream` turns into Python's objects, many times as large as Arrow's, at once."""

Chunks = Iterator["tuple[str, Chunk]"]
"""Chunks of one split with the name of the file that each comes from."""


def read(
    source: Source,
    *,
    roles: Roles,
    hub: str = "",
    subset: str | None = None,
    revision: str | None = None,
    hub_splits: Mapping[str, str] | None = None,
    local: Local | None = None,
) -> DatasetDict:
    """Every split that the source has, with the roles' columns and `row`; test splits may lack labels.

    Args:
        source: says which of the three kinds is read, and overrides columns and revision.
        roles: canonical column -> its name in the source, or candidates (see `Roles`).
        hub, subset, revision: the task's data set on the Hub.
        hub_splits: our split name -> the Hub's; empty: the splits named train…, validation…, test….
        local: our split name -> file in the publisher's layout below `data_dir`.

    Raises:
        ValueError: one line that names the file, row and column, and what would be right.
    """
    from datasets import DatasetDict

    from registry.data.building import build_split, fill_missing
    from registry.data.roles import LABELS, Chooser

    own = bool(source.files)
    chooser = Chooser(roles, source.columns, aloud=own)
    splits: dict[str, Dataset] = {}
    for split, chunks in _sources(source, hub, subset, revision, hub_splits or {}, local or {}, "tokens" in roles):
        optional = LABELS if split.startswith("test") else ()
        splits[split] = build_split(split, chunks, chooser, optional, strict=own)
    return DatasetDict(fill_missing(splits))


def stream(
    pattern: str,
    *,
    roles: Roles,
    columns: Mapping[str, str] | None = None,
    format: FileFormat | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows of a file or glob one after the other, in bounded memory: canonical columns and `row`.

    Raises:
        ValueError: as `read` does, when the row is reached.
    """
    from registry.data.building import canonical_tables
    from registry.data.roles import Chooser

    chunks = file_chunks(pattern, format or FileFormat(), "tokens" in roles)
    row = 0
    for table, _, _ in canonical_tables(chunks, Chooser(roles, columns or {}, aloud=True), optional=()):
        for batch in table.to_batches(max_chunksize=BATCH_ROWS):
            for values in batch.to_pylist():
                yield {"row": row, **values}
                row += 1


def file_chunks(pattern: str, format: FileFormat, lists: bool) -> Chunks:
    """Chunks of every file that a path or glob names; `lists` where rows must be lists of tokens.

    Raises:
        ValueError: there is no such file, or not one row in it.
    """
    from registry.data.formats import expand, read_chunks

    rows = False
    for path in expand(pattern, folders=format.kind == "folder"):
        for chunk in read_chunks(path, format, lists):
            rows = True
            yield str(path), chunk
    if not rows:
        raise ValueError(f"{pattern}: there are no rows in it")


def column_names(path: Path, format: FileFormat) -> list[str]:
    """The columns of a file, whatever its rows are read as.

    Raises:
        ValueError: there is not one row in it, or its first ones are malformed.
    """
    _, chunk = next(file_chunks(str(path), format, lists=False))
    names: list[str] = chunk.table.column_names
    return names


def _sources(
    source: Source,
    hub: str,
    subset: str | None,
    revision: str | None,
    hub_splits: Mapping[str, str],
    local: Local,
    lists: bool,
) -> Iterator[tuple[str, Chunks]]:
    """(split, its chunks)."""
    if source.files:
        for split, pattern in source.files.items():
            yield split, file_chunks(pattern, source.format, lists)
    elif source.data_dir:
        for split, file in _local_files(Path(source.data_dir), subset, hub_splits, local):
            chunks = file_chunks(file.path, replace(file.format, drop_invalid=source.format.drop_invalid), lists)
            yield split, _spelled_out(chunks, file.cells) if file.cells else chunks
    elif hub:
        from registry.data.hub import hub_chunks

        yield from hub_chunks(hub, subset, source.revision or revision, hub_splits)
    else:
        raise ValueError("no data: this task has no data set of its own; give --train-file (or --data-dir)")


def _local_files(
    folder: Path, subset: str | None, hub_splits: Mapping[str, str], local: Local
) -> Iterator[tuple[str, LocalFile]]:
    """(split, file with its whole path) of a local copy: the publisher's layout, else parquet as on the Hub."""
    if not folder.is_dir():
        raise ValueError(f"--data-dir {folder}: no such directory")
    files = {split: file if isinstance(file, LocalFile) else LocalFile(file) for split, file in local.items()}
    found = {split: file for split, file in files.items() if any(folder.glob(file.path))}
    literal = Path(glob.escape(str(folder)))
    if found:
        if "train" in files and "train" not in found:
            raise ValueError(f"--data-dir {folder}: {files['train'].path} is missing (there is {_names(found)})")
        yield from ((split, replace(file, path=str(literal / file.path))) for split, file in found.items())
        return
    parquet = {split: _parquet(folder, subset, theirs) for split, theirs in (hub_splits or _same()).items()}
    if not any(parquet.values()):
        layout = f"{_names(files)} or " if files else ""
        raise ValueError(f"--data-dir {folder}: expected {layout}parquet files such as train-00000-of-00001.parquet")
    yield from ((split, LocalFile(path, FileFormat("parquet"))) for split, path in parquet.items() if path)


def _spelled_out(chunks: Chunks, cells: Mapping[str, Mapping[str, str]]) -> Chunks:
    """The chunks with the cells of some columns replaced; one that is not in the table stays."""
    import pyarrow as pa

    for name, chunk in chunks:
        table = chunk.table
        for column, meanings in cells.items():
            values = [meanings.get(value, value) for value in table[column].to_pylist()]
            table = table.set_column(table.column_names.index(column), column, pa.array(values, pa.string()))
        yield name, replace(chunk, table=table)


def _parquet(folder: Path, subset: str | None, split: str) -> str:
    """Glob of a split's files in the layouts that the Hub uses, or the empty string."""
    for below in ((subset, f"{subset}/data", f"data/{subset}") if subset else ()) + (
        ".",
        "data",
        "plain_text",
        "default",
    ):
        for pattern in (f"{split}-*.parquet", f"{split}.parquet", f"{split}/*.parquet"):
            if any(folder.glob(f"{below}/{pattern}")):
                return str(Path(glob.escape(str(folder))) / below / pattern)
    return ""


def _same() -> dict[str, str]:
    return {split: split for split in SPLITS}


def _names(files: Mapping[str, LocalFile]) -> str:
    return ", ".join(file.path for file in files.values())
