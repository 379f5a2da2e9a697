"""Labels given as vectors of 0 and 1, one place a label, as transformers' own multi-label training wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from registry.data.places import where
from registry.tasks.columns import map_column

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

SET = ("1", "1.0", "true")
UNSET = ("0", "0.0", "false")


def name_vectors(raw: DatasetDict, labels: Sequence[str]) -> DatasetDict:
    """`raw` with vectors as the names of what they set, read by place; lists of names or indices stay as they are.

    Raises:
        ValueError: vectors, and not as many `labels` as places; taken for names, 0 and 1 would be the classes.
    """
    from datasets import List, Value

    split = "train" if "train" in raw else next(iter(raw))
    width = _width(raw[split], labels, sets="train" not in raw)
    if not width:
        return raw
    if width != len(labels):
        rows = raw[split]
        at, vector = next((at, value) for at, value in enumerate(rows["label"][:]) if value is not None)
        raise ValueError(
            f"{split} {where(rows, rows[at]['row'])}, column label: {str(vector)[:40]} is a vector of 0 and 1; "
            "write the names, or one column per label: --label-column a,b,c"
        )
    return map_column(raw, "label", _named(labels), List(Value("string")))


def _width(rows: Dataset, labels: Sequence[str], sets: bool) -> int:
    """Places of the rows' vectors; 0 where the lists differ in length or hold names.

    Args:
        sets: a few rows of names may be of one length; they are vectors where one has an item twice, as no set has.
    """
    given = [value for value in rows["label"][:] if value is not None] if "label" in rows.column_names else []
    widths = {len(value) for value in given if isinstance(value, list)}
    items = {item for value in given for item in value}
    if len(widths) != 1 or items <= set(labels) or not all(_is_place(item) for item in items):
        return 0
    if sets and all(len(set(value)) == len(value) for value in given):
        return 0
    width = widths.pop()
    return width if width > 1 else 0


def _is_place(item: str | None) -> bool:
    return item is not None and item.lower() in SET + UNSET


def _named(labels: Sequence[str]) -> Callable[[Any], list[str] | None]:
    def names(vector: list[str] | str | None) -> list[str] | None:
        if vector is None:
            return None
        if len(vector) != len(labels) or isinstance(vector, str) or not all(_is_place(item) for item in vector):
            what = f"{str(vector)[:40]} is no vector of 0 and 1 for {len(labels)} labels, as train's are"
            raise ValueError(f"column label: {what}")
        return [label for label, item in zip(labels, vector, strict=True) if item.lower() in SET]

    return names
