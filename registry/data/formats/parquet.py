"""Parquet files: any scalar becomes text, classes named in the file's metadata become their names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from registry.data.formats.chunks import CHUNK, Chunk, rows_of_size
from registry.data.source import FileFormat


def read_parquet(path: Path, format: FileFormat) -> Iterator[Chunk]:
    """Rows of a parquet file as columns of strings and lists of strings; other types are left out.

    Raises:
        ValueError: the file is not parquet or is broken.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = class_names(file.schema_arrow)
            seen = 0
            for batch in file.iter_batches(batch_size=_batch_rows(file.metadata)):
                table = as_text(pa.Table.from_batches([batch]), names)
                yield Chunk(table, range(seen + 1, seen + 1 + len(batch)), "row")
                seen += len(batch)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path}: not a readable parquet file ({' '.join(str(error).split())})") from None


def as_text(table: pa.Table, names: dict[str, list[str]]) -> pa.Table:
    """The table with every scalar and list column as strings; `names` are classes by column."""
    columns = {}
    for field in table.schema:
        column = table[field.name]
        if (
            pa.types.is_list(field.type)
            or pa.types.is_large_list(field.type)
            or pa.types.is_fixed_size_list(field.type)
        ):
            columns[field.name] = _list_as_text(column.combine_chunks(), names.get(field.name))
        elif not pa.types.is_nested(field.type):
            columns[field.name] = _scalar_as_text(column, names.get(field.name))
    return pa.table({name: column for name, column in columns.items() if column is not None})


def _batch_rows(metadata: Any) -> int:
    """Rows of the file that make a chunk, by the row group with the longest ones."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return min((rows_of_size(group.total_byte_size, group.num_rows) for group in groups), default=CHUNK)


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Column -> the names of its classes, where Hugging Face metadata gives them."""
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    found = {name: _names(feature) for name, feature in features.items()}
    return {name: classes for name, classes in found.items() if classes}


def _names(feature: Any) -> list[str]:
    if isinstance(feature, list) and feature:
        return _names(feature[0])
    if not isinstance(feature, dict):
        return []
    return feature.get("names") or _names(feature.get("feature"))


def _scalar_as_text(column: Any, names: list[str] | None) -> Any:
    if names and pa.types.is_integer(column.type):
        indices = pc.if_else(pc.less(column, 0), pa.scalar(None, column.type), column)
        return pc.take(pa.array(names, pa.string()), indices)
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _list_as_text(column: Any, names: list[str] | None) -> Any:
    lists = column.cast(pa.list_(column.type.value_type))
    if pa.types.is_nested(lists.type.value_type):
        return None
    values = _scalar_as_text(lists.values, names)
    if values is None:
        return None
    return pa.ListArray.from_arrays(lists.offsets, values, mask=lists.is_null() if lists.null_count else None)
