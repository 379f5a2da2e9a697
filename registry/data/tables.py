"""Arrow tables, one after the other, become a data set: in memory while small, else memory-mapped from disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from registry.data.cache import default_cache_dir

if TYPE_CHECKING:
    from datasets import Dataset

MEMORY = 256 * 1024 * 1024
"""Bytes of rows that are kept in memory."""


def collect(tables: Iterator[pa.Table], limit: int = MEMORY) -> Dataset | None:
    """The rows of all tables (of one schema), or None where there are none.

    Above `limit` bytes they go to a temporary Arrow file, whose name is removed at once: it lives as
    long as the process maps it, and nothing is left behind however the process ends.
    """
    from datasets import Dataset
    from datasets.table import InMemoryTable, MemoryMappedTable

    kept: list[pa.Table] = []
    for table in tables:
        kept.append(table)
        if sum(t.nbytes for t in kept) > limit:
            with tempfile.TemporaryDirectory(prefix="rows-", dir=_folder()) as folder:
                path = Path(folder) / "rows.arrow"
                _write(path, kept, tables)
                return Dataset(MemoryMappedTable.from_file(str(path)))
    return Dataset(InMemoryTable(pa.concat_tables(kept).combine_chunks())) if kept else None


def _write(path: Path, first: list[pa.Table], rest: Iterator[pa.Table]) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, first[0].schema) as writer:
        while first:
            writer.write_table(first.pop(0))
        for table in rest:
            writer.write_table(table)


def _folder() -> Path:
    folder = default_cache_dir()  # not the system's, which is often in memory
    folder.mkdir(parents=True, exist_ok=True)
    return folder
