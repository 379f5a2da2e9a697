"""Encoded examples on disk: made once for the same rows, tokenizer and options, memory-mapped ever after.

A column lies as one flat array (and, for lists, the offsets of the examples in it), so that taking a
batch costs a few array views, whatever the size of the data. Values are int32, float32 or bool in
lists, int64, float64 or bool as scalars.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.data.cache import content_digest, digest, prune, remove, written_folder
from registry.data.places import RowError, where

if TYPE_CHECKING:
    from datasets import Dataset

VERSION = 2
"""Part of every cache key: raise it when the files' layout changes."""

BATCH = 1000
"""Rows that `encode` gets at a time. It is the same however many processes encode, for encoders that pack rows."""

Columns = Mapping[str, Sequence[Any]]
Encode = Callable[[Columns], Mapping[str, Sequence[Any]]]


@dataclass(frozen=True)
class Column:
    """One column of all examples: `values` alone for scalars, else example i is values[offsets[i]:offsets[i + 1]]."""

    values: np.ndarray
    offsets: np.ndarray | None = None


class Encoded:
    """Encoded examples by index. `fingerprint` is a digest of all of them."""

    def __init__(self, columns: Mapping[str, Column], fingerprint: str = "") -> None:
        self.columns, self.fingerprint = dict(columns), fingerprint

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(examples,) int32: tokens of each example, special ones included."""
        offsets = self.columns["input_ids"].offsets
        assert offsets is not None
        return np.diff(offsets).astype(np.int32)

    def column(self, name: str) -> np.ndarray:
        """(examples,) values of a scalar column such as `row` or `truncated`."""
        found = self.columns[name]
        assert found.offsets is None, f"{name} holds lists"
        return found.values

    @property
    def truncated_share(self) -> float:
        """Share of the rows of which something was cut off."""
        if "truncated" not in self.columns or not len(self):
            return 0.0
        rows = self.column("row")
        return len(np.unique(rows[self.column("truncated")])) / len(np.unique(rows))

    def rows(self, indices: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        """The examples at `indices`: lists as arrays (views of the file: copy before writing), scalars as numbers."""
        at = np.asarray(indices, dtype=np.int64)
        parts = [_take(column, at) for column in self.columns.values()]
        return [dict(zip(self.columns, cells, strict=True)) for cells in zip(*parts, strict=True)]


def encode_split(
    encode: Encode, examples: Dataset, *, fingerprint: str, cache_dir: str | Path, num_workers: int = 0
) -> Encoded:
    """The encoded examples of a split, from the cache where the same were encoded before.

    Processes may do this at the same time; each finds or makes complete files.

    Args:
        encode: columns of some rows -> columns of their encoded examples, `input_ids` among them.
        fingerprint: says everything that `encode` depends on (tokenizer, length, options).
        num_workers: processes that encode; 0: this one.

    Raises:
        ValueError: what `encode` raised (of a `RowError` with the row's file and line), or the cache cannot be written.
    """
    folder = Path(cache_dir) / "encoded" / digest(VERSION, fingerprint, content_digest(examples))
    try:
        return stored(folder, lambda: _encoded_batches(encode, examples, num_workers))
    except RowError as error:
        raise ValueError(f"{where(examples, error.row)}: {error.message}") from None


def stored(folder: Path, batches: Callable[[], Iterator[dict[str, Column]]]) -> Encoded:
    """Examples from their files in a cache, which are made of batches where they are not there in full.

    Args:
        batches: columns of some examples at a time; those of lists have lengths in place of offsets.

    Raises:
        ValueError: the cache cannot be written.
    """
    there = folder.is_dir()  # asked first: what another process puts there meanwhile is no damage
    if not is_stored(folder):
        if there:
            remove(folder)
        prune(folder.parent)
        with written_folder(folder) as part:
            _write(part, batches())
    return load_encoded(folder)


def is_stored(folder: Path) -> bool:
    """Whether every file is there in full (a machine that lost power may have cut some)."""
    try:
        return all((folder / name).stat().st_size == size for name, size in _meta(folder)["sizes"].items())
    except (OSError, ValueError):
        return False


def load_encoded(folder: Path) -> Encoded:
    """Encoded examples from their files, mapped into memory; pruning goes by when this was last done."""
    with contextlib.suppress(OSError):  # a shared cache may be read-only
        (folder / "meta.json").touch()
    columns = {}
    meta = _meta(folder)
    for name, kind in meta["columns"].items():
        offsets = np.fromfile(folder / f"{name}.offsets", np.int64) if kind["ragged"] else None
        columns[name] = Column(_mapped(folder / f"{name}.values", np.dtype(kind["dtype"])), offsets)
    return Encoded(columns, meta["fingerprint"])


def _take(column: Column, at: np.ndarray) -> Sequence[Any]:
    values, offsets = column.values, column.offsets
    if offsets is None:
        return values[at].tolist()
    return [values[begin:end] for begin, end in zip(offsets[at].tolist(), offsets[at + 1].tolist(), strict=True)]


def _mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    # As a plain array: slicing numpy's memmap class costs ten times as much.
    return np.asarray(np.memmap(path, dtype, mode="r"))


def _encoded_batches(encode: Encode, examples: Dataset, num_workers: int) -> Iterator[dict[str, Column]]:
    starts = range(0, len(examples), BATCH)
    if num_workers == 0 or len(starts) < 2:
        yield from (_encode_batch(encode, examples, start) for start in starts)
        return
    from registry.data.workers import forked_map

    yield from forked_map(lambda start: _encode_batch(encode, examples, start), starts, num_workers)


def _encode_batch(encode: Encode, examples: Dataset, start: int) -> dict[str, Column]:
    encoded = encode(examples[start : start + BATCH])
    return {name: _packed(name, values) for name, values in encoded.items()}


def _packed(name: str, cells: Sequence[Any]) -> Column:
    if not len(cells) or not isinstance(cells[0], (list, tuple, np.ndarray)):
        return Column(_typed(name, np.asarray(cells), {"i": "int64", "f": "float64", "b": "bool"}))
    lengths = np.fromiter(map(len, cells), np.int64, len(cells))
    flat = np.asarray([item for cell in cells for item in cell]) if len(cells) else np.empty(0)
    return Column(_typed(name, flat, {"i": "int32", "f": "float32", "b": "bool"}), lengths)


def _typed(name: str, values: np.ndarray, types: Mapping[str, str]) -> np.ndarray:
    if not len(values):
        return np.empty(0, types["i"])
    if values.dtype.kind not in types or values.ndim != 1:
        raise TypeError(f"encoded column {name!r} holds {values.dtype}; it must hold numbers or flat lists of them")
    return values.astype(types[values.dtype.kind], copy=False)


def _write(folder: Path, batches: Iterator[dict[str, Column]]) -> None:
    """Columns of batches as files; only lengths are held in memory."""
    dtypes: dict[str, str] = {}
    lengths: dict[str, list[np.ndarray]] = {}
    content = hashlib.blake2b(digest_size=16)
    for batch in batches:
        for name, column in sorted(batch.items()):
            content.update(column.values.tobytes())
            if len(column.values):
                known = dtypes.setdefault(name, str(column.values.dtype))
                assert known == str(column.values.dtype), f"column {name!r} changed from {known}"
            if column.offsets is not None:
                content.update(column.offsets.tobytes())
                lengths.setdefault(name, []).append(column.offsets)
            with open(folder / f"{name}.values", "ab") as file:
                column.values.tofile(file)
    for name, parts in lengths.items():
        np.concatenate([[0], np.cumsum(np.concatenate(parts))]).astype(np.int64).tofile(folder / f"{name}.offsets")
    names = {path.stem for path in folder.glob("*.values")}
    columns = {name: {"dtype": dtypes.get(name, "int32"), "ragged": name in lengths} for name in sorted(names)}
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    (folder / "meta.json").write_text(
        json.dumps({"columns": columns, "sizes": sizes, "fingerprint": content.hexdigest()})
    )


def _meta(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "meta.json").read_text())
