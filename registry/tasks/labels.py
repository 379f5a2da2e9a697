"""Labels of classification: as the source writes them, as names, as indices or numbers in a batch."""

from __future__ import annotations

import ast
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.data.places import RowError, where
from registry.heads import IGNORE, Head
from registry.tasks.columns import closest, map_column
from registry.tasks.label_vectors import name_vectors

if TYPE_CHECKING:
    from datasets import DatasetDict
    from torch import Tensor

log = logging.getLogger(__name__)


def strip_labels(raw: DatasetDict, pattern: str, unlabelled: Sequence[str], renamed: Mapping[str, str]) -> DatasetDict:
    """`raw` with None for the label cells in `unlabelled`; of the others the part that matches `pattern`, renamed."""
    from datasets import List, Value

    if not pattern and not unlabelled and not renamed:
        return raw
    kinds = [split.features["label"] for split in raw.values() if "label" in split.column_names]

    def strip(value: str | None) -> str | None:
        if value is None or value in unlabelled:
            return None
        found = re.match(pattern, value) if pattern else None
        value = found.group() if found else value
        return renamed.get(value, value)

    def strip_each(values: list[str] | str | None) -> list[str] | None:
        if isinstance(values, str):
            raise ValueError(f"column label: {values!r} is one label, where other splits have lists of labels")
        return None if values is None else [found for value in values if (found := strip(value)) is not None]

    if all(isinstance(kind, Value) for kind in kinds):
        return map_column(raw, "label", strip, Value("string"))
    return map_column(raw, "label", strip_each, List(Value("string")))


def name_labels(raw: DatasetDict, problem: str, labels: Sequence[str], separator: str) -> DatasetDict:
    """`raw` with its label column as names (single label), lists of names (several) or floats (regression).

    Args:
        problem: "auto" decides by the values and says what it took them for.
        labels: the declared label space; a source may then hold indices into it, and -1 for none.
        separator: splits one cell into several labels.

    Raises:
        ValueError: a label that the problem or the label space has no room for; names its file and row.
    """
    from datasets import List, Value

    if not any("label" in split.column_names for split in raw.values()):
        return raw
    if problem in ("auto", "multi_label"):
        _refuse_written_lists(raw)
    if problem == "auto":
        problem = guess_problem(raw, labels, separator)
    if problem == "regression":
        return map_column(raw, "label", _number, Value("float64"))
    if problem == "multi_label":
        named = map_column(name_vectors(raw, labels), "label", _several(labels, separator), List(Value("string")))
        return _filled(named) if separator else named
    return name_column(raw, "label", labels)


def name_column(raw: DatasetDict, column: str, labels: Sequence[str]) -> DatasetDict:
    """`raw` with `column` as names of `labels`, where any are declared; a source may hold indices into them."""
    from datasets import Value

    return map_column(raw, column, _name(column, labels), Value("string"))


def guess_problem(raw: DatasetDict, labels: Sequence[str], separator: str) -> str:
    """What the labels of train are: lists, fractions or names; a guess between them is logged.

    Numbers with NaN among them count as fractions, so that `_number` says where it stands.

    Raises:
        ValueError: most are fractions, or all have decimal commas: taken for names, each number would be a class.
    """
    rows = raw["train"] if "train" in raw else next(iter(raw.values()))
    given = [value for value in rows["label"][:] if value is not None]
    if separator or (given and isinstance(given[0], list)):
        return "multi_label"
    if labels:
        return "single_label"
    values = set(given)
    names = sorted(value for value in values if not _is_number(value))
    fractions = any(float(value) % 1 for value in values.difference(names))
    if names:
        _refuse_misread_numbers(values, names, fractions)
        return "single_label"
    if fractions:
        log.info("labels are fractions: taken for regression (problem=single_label says otherwise)")
    return "regression" if fractions else "single_label"


def problem_of(raw: DatasetDict) -> str:
    """The problem that `name_labels` settled on, read from the label column's type."""
    from datasets import Value

    kind = raw["train"].features["label"]
    if not isinstance(kind, Value):
        return "multi_label"
    return "regression" if kind.dtype == "float64" else "single_label"


def balanced_weights(given: Sequence[str], labels: Sequence[str], rows: int, problem: str) -> tuple[float, ...]:
    """Weight of each label, so that all weigh the same over train and the mean weight of a row is 1.

    `--train-fraction` and the like choose from that train; the weights stay those of the whole.
    Several labels are weighted by how much rarer "set" is than "not set" (BCE's positive weight).
    """
    counts = Counter(given)
    missing = [label for label in labels if not counts[label]]
    if missing:
        raise ValueError(f"class_weights=balanced: label {missing[0]!r} does not occur in train")
    if problem == "multi_label":
        return tuple(max(rows - counts[label], 1) / counts[label] for label in labels)
    return tuple(rows / (len(labels) * counts[label]) for label in labels)


def encode_labels(given: Sequence[Any], rows: Sequence[int], head: Head) -> list[Any]:
    """Batch labels: indices (IGNORE for none), 0/1 vectors or numbers (NaN for none)."""
    if head.problem == "regression":
        return [float("nan") if value is None else float(value) for value in given]
    index = {label: i for i, label in enumerate(head.labels)}

    def find(label: str, row: int) -> int:
        if label not in index:
            raise RowError(row, f"label {label!r} is not one that train has{closest(label, head.labels)}")
        return index[label]

    if head.problem == "single_label":
        return [IGNORE if value is None else find(value, row) for value, row in zip(given, rows, strict=True)]
    vectors = []
    for value, row in zip(given, rows, strict=True):
        vector = np.full(len(index), np.nan if value is None else 0.0, dtype=np.float32)
        vector[[find(label, row) for label in value or ()]] = 1.0
        vectors.append(vector.tolist())
    return vectors


def labelled(labels: Tensor) -> Tensor:
    """Which examples have a label: (examples,) bool."""
    if not labels.is_floating_point():
        return labels != IGNORE
    return ~(labels if labels.ndim == 1 else labels[:, 0]).isnan()


def _number(value: Any) -> float | None:
    if value in (None, ""):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"column label: {value!r} is not a number (regression)") from None
    if not math.isfinite(number):
        raise ValueError(f"column label: {value!r} is not finite (regression); a cell without a label must be empty")
    return number


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _refuse_misread_numbers(values: Collection[str], names: Sequence[str], fractions: bool) -> None:
    otherwise = "(problem=single_label takes them for names)"
    if fractions and len(names) * 2 < len(values):
        raise ValueError(f"column label: most are fractions, but {names[0][:40]!r} is no number; empty it {otherwise}")
    if all(re.fullmatch(r"[-+]?\d+(,\d+)?", value) for value in values):
        what = f"{names[0]!r} and others are numbers with a decimal comma; write {names[0].replace(',', '.')}"
        raise ValueError(f"column label: {what} {otherwise}")


def _refuse_written_lists(raw: DatasetDict) -> None:
    """A cell "['a', 'c']", as pandas writes lists to CSV, would be a class of its own."""
    for split, rows in raw.items():
        for position, value in enumerate(rows["label"][:] if "label" in rows.column_names else ()):
            if isinstance(value, str) and _is_written_list(value):
                raise ValueError(
                    f"{split} {where(rows, rows[position]['row'])}, column label: {value[:40]!r} is a list written as "
                    "text; use JSON lines or parquet for lists, or cells such as 'a|c' with label_separator='|' "
                    "(problem=single_label takes it for a name)"
                )


def _is_written_list(text: str) -> bool:
    try:
        return text.startswith("[") and isinstance(ast.literal_eval(text), list)
    except (ValueError, SyntaxError):
        return False


def _filled(raw: DatasetDict) -> DatasetDict:
    """`raw` with [] for None in splits that have labels: an empty cell is how text says "none of them"."""
    from datasets import DatasetDict, List, Value

    given = {split: rows for split, rows in raw.items() if "label" in rows.column_names}
    labelled = {split: rows for split, rows in given.items() if any(names is not None for names in rows["label"][:])}
    filled = map_column(DatasetDict(labelled), "label", lambda names: names or [], List(Value("string")))
    return DatasetDict({**raw, **filled})


def _name(column: str, labels: Sequence[str]) -> Callable[[Any], str | None]:
    """A label as its source has it (a name, or an index into `labels`) -> its name."""
    known = set(labels)

    def name(value: Any) -> str | None:
        if isinstance(value, list):
            what = f"{str(value)[:40]} is a list of labels, where one is needed"
            raise ValueError(f"column {column}: {what} (problem=multi_label learns several)")
        if value is None or value in known or not labels:
            return value or None
        if value in ("", "-1", "-1.0"):
            return None
        index = str(value).removesuffix(".0")  # pandas writes a column of indices with a hole in it as 1.0
        if index.isdecimal() and int(index) < len(labels):
            return labels[int(index)]
        raise ValueError(f"column {column}: {value!r} is not a label of the task{closest(str(value), labels)}")

    return name


def _several(labels: Sequence[str], separator: str) -> Callable[[Any], list[str] | None]:
    name = _name("label", labels)

    def names(value: Any) -> list[str] | None:
        if value is None:
            return None
        parts = value if isinstance(value, list) else value.split(separator) if separator else [value]
        return [found for part in parts if (found := name(part.strip())) is not None]

    return names
