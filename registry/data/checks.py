"""What is wrong with rows before anything is learned from them: empties, duplicates, conflicts, leaks, balance."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.data.places import where
from registry.data.roles import CLASSES, LABELS, LISTS, TEXTS

if TYPE_CHECKING:
    from datasets import Dataset

CHUNK = 10_000
EXAMPLES = 5
"""Places that a finding names."""


def text_hashes(rows: Dataset) -> np.ndarray:
    """(rows,) uint64: equal for rows with the same texts or tokens."""
    from pandas.util import hash_array

    names = [name for name in (*TEXTS, "tokens") if name in rows.column_names]
    found = [hash_array(np.asarray(texts, dtype=object), categorize=False) for texts in _joined(rows, names)]
    return np.concatenate(found) if found else np.empty(0, np.uint64)


def invalid_rows(rows: Dataset, *, needs_label: bool, unreadable: bool = False) -> dict[int, str]:
    """Index -> what is wrong: no text at all, or no label where `needs_label` and other rows have one.

    Args:
        unreadable: texts with U+FFFD, which stands for what could not be decoded, are wrong too.
    """
    names = [name for name in (*TEXTS, "tokens") if name in rows.column_names]
    found = {}
    for start, texts in zip(range(0, len(rows), CHUNK), _joined(rows, names), strict=False):
        for at, text in enumerate(texts):
            if not text.strip("\x1e\x1f \t\r\n\f\v\u3000\xa0"):
                found[start + at] = "the text is empty"
            elif unreadable and "\ufffd" in text:
                found[start + at] = "the text has characters that cannot be read (U+FFFD)"
    label = next((name for name in LABELS if name in rows.column_names), None)
    if needs_label and label is not None:
        missing = [at for at, value in enumerate(_values(rows, label)) if value is None]
        if len(missing) < len(rows):
            found |= {at: f"the {label} is empty" for at in missing if at not in found}
    return dict(sorted(found.items()))


def conflicts(rows: Dataset, hashes: np.ndarray) -> tuple[int, list[str]]:
    """Texts with different labels, in whatever order a row has several: how many, and where the first of them stand."""
    name = next((name for name in LABELS if name in rows.column_names), None)
    if name is None:
        return 0, []
    repeated = np.isin(hashes, _repeated(hashes))
    first: dict[int, tuple[int, Any]] = {}
    clashing: dict[int, list[int]] = {}
    labels = rows.select(np.flatnonzero(repeated))[name][:]
    for at, given in zip(np.flatnonzero(repeated).tolist(), labels, strict=True):
        label = frozenset(given) if isinstance(given, list) and name not in LISTS else given
        place, known = first.setdefault(int(hashes[at]), (at, label))
        if known != label:
            clashing.setdefault(int(hashes[at]), [place]).append(at)
    named = itertools.islice(clashing.values(), EXAMPLES)  # to find a place takes long where there are many files
    return len(clashing), [" and ".join(where(rows, rows[at]["row"]) for at in ats[:2]) for ats in named]


def balance(rows: Dataset) -> dict[str, int]:
    """Label -> rows that have it, most frequent first; nothing for numbers and tags."""
    name = next((name for name in CLASSES if name in rows.column_names), None)
    if name is None:
        return {}
    counts: Counter[Any] = Counter()
    for chunk in rows.select_columns([name]).iter(CHUNK):
        values = [value for value in chunk[name] if value is not None]
        if values and isinstance(values[0], float):
            return {}
        several = bool(values) and isinstance(values[0], list)
        counts.update(itertools.chain.from_iterable(values) if several else values)
    return dict(counts.most_common())


def unlabelled(rows: Dataset) -> int:
    """Rows without a label, where the split has a column for it."""
    name = next((name for name in LABELS if name in rows.column_names), None)
    return 0 if name is None else sum(value is None for value in _values(rows, name))


def messages(checks: Mapping[str, Any]) -> list[str]:
    """The findings that a person should know of, a line each; none where all is well."""
    lines = [f"{split}: {found['rows']} rows left out ({found['first']})" for split, found in checks["invalid"].items()]
    if checks["duplicates"]:
        lines.append(f"train: {checks['duplicates']} rows repeat an earlier text")
    if checks["conflicts"]["texts"]:
        first = checks["conflicts"]["examples"][0]
        lines.append(f"train: {checks['conflicts']['texts']} texts occur with different labels (first: {first})")
    leaks = {split: count for split, count in checks["leaks"].items() if count}
    for split, count in leaks.items():
        lines.append(f"{split}: {count} rows also stand in train")
    if leaks and checks["dropped_leaks"]:
        lines.append(f"train: {checks['dropped_leaks']} rows removed that stood in {' or '.join(leaks)}")
    elif leaks:
        lines.append("--drop-leaks removes these rows from train")
    return lines


def _repeated(hashes: np.ndarray) -> np.ndarray:
    values, counts = np.unique(hashes, return_counts=True)
    return values[counts > 1]


def _joined(rows: Dataset, names: list[str]) -> Iterator[list[str]]:
    """Chunks of the rows' texts, several columns and tokens joined by characters that texts do not hold."""
    for chunk in rows.select_columns(names).iter(CHUNK):
        columns = [
            ["\x1f".join(v or ()) for v in chunk[name]] if name in LISTS else [v or "" for v in chunk[name]]
            for name in names
        ]
        yield columns[0] if len(columns) == 1 else ["\x1e".join(texts) for texts in zip(*columns, strict=True)]


def _values(rows: Dataset, name: str) -> Iterator[Any]:
    for chunk in rows.select_columns([name]).iter(CHUNK):
        yield from chunk[name]
