"""Arrow tables, one after the other, become a data set: in memory while small, else memory-mapped from disk."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from registry.data.cache import default_cache_dir

if TYPE_CHECKING:
    from datasets import Dataset

CHUNK = 10_000
"""Rows that are copied at a time."""

MEMORY = 256 * 1024 * 1024
"""Bytes of rows that are kept in memory."""


def collect(tables: Iterator[pa.Table], limit: int = MEMORY) -> Dataset | None:
    """The rows of all tables (of one schema), or None where there are none.

    Above `limit` bytes they go to an Arrow file that lives as long as this process.
    """
    from datasets import Dataset
    from datasets.table import InMemoryTable

    kept: list[pa.Table] = []
    size = 0
    for table in tables:
        kept.append(table)
        size += table.nbytes
        if size > limit:
            path = Path(tempfile.mkdtemp(dir=_folder())) / "rows.arrow"
            _write(path, kept, tables)
            return Dataset.from_file(str(path))
    return Dataset(InMemoryTable(pa.concat_tables(kept).combine_chunks())) if kept else None


def select(rows: Dataset, kept: np.ndarray, limit: int = MEMORY) -> Dataset:
    """The rows at `kept` (sorted indices), copied: what goes through them later is not slowed by gathering.

    `Dataset.select` keeps the indices alone, and every pass over the rows then costs seconds a million.
    """
    mask = np.zeros(len(rows), bool)
    mask[kept] = True
    starts = range(0, len(rows), CHUNK)
    chunks = zip(starts, rows.with_format("arrow").iter(CHUNK), strict=True)
    copied = collect((chunk.filter(pa.array(mask[start : start + CHUNK])) for start, chunk in chunks), limit)
    if copied is None:
        return rows.select([])
    copied.info.description = rows.info.description
    return copied


def _write(path: Path, first: list[pa.Table], rest: Iterator[pa.Table]) -> None:
    try:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, first[0].schema) as writer:
            while first:
                writer.write_table(first.pop(0))
            for table in rest:
                writer.write_table(table)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({error.strerror or error}); REGISTRY_CACHE moves it") from None


@cache
def _folder() -> Path:
    """A folder of this process, removed when it ends; those of processes that were killed go now.

    It lies in the cache directory because the system's temporary files are often kept in memory.
    """
    host = socket.gethostname()
    rows = default_cache_dir() / "rows"
    for other in rows.glob(f"{host}-*"):
        whose, _, process = other.name.rpartition("-")
        if whose == host and not Path(f"/proc/{process}").exists() and Path("/proc/self").exists():
            shutil.rmtree(other, ignore_errors=True)
    folder = rows / f"{host}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
