"""Small operations on columns, of data sets and of reduced batches, that the families share."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.data.places import where
from registry.spelling import close_names

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def map_column(splits: DatasetDict, name: str, change: Callable[[Any], Any], kind: Any) -> DatasetDict:
    """Every split with column `name` changed value by value and stored as the datasets feature `kind`.

    Raises:
        ValueError: as `change` raised it, with split and row named before it.
    """
    from datasets import DatasetDict

    return DatasetDict({split: _changed(split, rows, name, change, kind) for split, rows in splits.items()})


def _changed(split: str, rows: Dataset, name: str, change: Callable[[Any], Any], kind: Any) -> Dataset:
    if name not in rows.column_names:
        return rows
    values = []
    for position, value in enumerate(rows[name][:]):  # a column of datasets would be read row by row
        try:
            values.append(change(value))
        except ValueError as error:
            raise ValueError(f"{split} {where(rows, rows[position]['row'])}, {error}") from None
    return with_column(rows, name, values, kind)


def with_column(rows: Dataset, name: str, values: Iterable[Any], kind: Any) -> Dataset:
    """`rows` with column `name` set to `values`, stored as the datasets feature `kind`."""
    from datasets import Dataset, Features, concatenate_datasets

    column = Dataset.from_dict({name: list(values)}, features=Features({name: kind}))
    kept = rows.remove_columns(name) if name in rows.column_names else rows
    return concatenate_datasets([kept, column], axis=1)


def label_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names in the order of the label space: by number where all are numbers, else by name."""
    distinct = sorted(set(names))
    try:
        numbers = all(math.isfinite(float(name)) for name in distinct)
    except ValueError:
        numbers = False
    return tuple(sorted(distinct, key=float) if numbers else distinct)


def closest(name: str, known: Sequence[str]) -> str:
    """'; did you mean …?' or the first of what is known."""
    close = close_names(name, known, most=2)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    more = ", …" if len(known) > 8 else ""
    return f"; it must be one of {', '.join(list(known)[:8])}{more}"


def concatenate(reduced: Sequence[Mapping[str, np.ndarray]], fill: int = -1) -> dict[str, np.ndarray]:
    """Reduced batches one after another; ragged second dimensions are widened with `fill`."""
    columns = {}
    for name in reduced[0]:
        arrays = [np.asarray(batch[name]) for batch in reduced]
        if arrays[0].ndim > 1:
            width = max(a.shape[1] for a in arrays)
            arrays = [_widened(a, width, fill) for a in arrays]
        columns[name] = np.concatenate(arrays)
    return columns


def _widened(array: np.ndarray, width: int, fill: int) -> np.ndarray:
    if array.shape[1] == width:
        return array
    edges = [(0, 0), (0, width - array.shape[1]), *[(0, 0)] * (array.ndim - 2)]
    return np.pad(array, edges, constant_values=fill)


def one_per_row(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sorted by `row`, each row once."""
    _, first = np.unique(columns["row"], return_index=True)
    return {name: values[first] for name, values in columns.items()}


def input_columns(
    items: Sequence[str | Mapping[str, Any]], names: Mapping[str, str | Sequence[str]]
) -> dict[str, list[Any]]:
    """Canonical columns, and `row`, of what somebody types or posts.

    Args:
        items: texts (of the first column), or dictionaries by canonical or source column name.
        names: canonical column -> its source name or candidates, as the task declares them.

    Raises:
        ValueError: an item lacks a column, has another type than text or a column that nobody reads; names the item.
    """
    columns: dict[str, list[Any]] = {"row": list(range(len(items)))}
    first = next(iter(names))
    for number, item in enumerate(items):
        given = {first: item} if isinstance(item, str) else item
        read = set()
        for canonical, source in names.items():
            accepted = (canonical, *([source] if isinstance(source, str) else source))
            key = next((name for name in accepted if name and name in given), None)
            if key is None:
                needed = f" (this takes {' and '.join(names)})" if len(names) > 1 else ""
                raise ValueError(
                    f"item {number}: {canonical!r} is missing; it has {', '.join(given) or 'nothing'}{needed}"
                )
            if not isinstance(given[key], str):
                raise ValueError(f"item {number}: {key!r} must be text, not {type(given[key]).__name__}")
            read.add(key)
            columns.setdefault(canonical, []).append(given[key])
        refuse_unread(number, given, read, " and ".join(names))
    return columns


def refuse_unread(number: int, given: Iterable[str], read: Collection[str], takes: str) -> None:
    """ValueError where an item has a column that the task does not read: a prediction without it would mislead."""
    unread = [name for name in given if name not in read]
    if unread:
        raise ValueError(f"item {number}: column {unread[0][:80]!r} is not read here; this takes {takes}")
