"""Dividing rows: stratified, seeded, the same for the same rows, and smaller subsets within larger ones."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.data.places import Place, remember, remembered
from registry.data.roles import LABELS
from registry.data.tables import select

if TYPE_CHECKING:
    from datasets import Dataset

DEFAULT_RATIO = "0.8/0.1/0.1"
BINS = 10
"""Strata that numbers (regression) are sorted into."""


def parse_ratio(text: str) -> tuple[float, float, float]:
    """Shares of train, validation and test in "0.8/0.1/0.1", "80/10/10" or "0.8/0.2" (no test).

    Raises:
        ValueError: not two or three shares that add up to 1 or 100.
    """
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        shares = []
    total = sum(shares)
    whole = abs(total - 1) < 1e-6 or abs(total - 100) < 1e-6
    if len(shares) not in (2, 3) or min(shares) < 0 or shares[0] <= 0 or not whole:
        raise ValueError(
            f"--split-ratio {text!r}: expected shares that add up to 1, such as {DEFAULT_RATIO} or 0.8/0.2"
        )
    train, validation, test = (share / total for share in (*shares, 0.0)[:3])
    return train, validation, test


def stratified_order(strata: np.ndarray, seed: int) -> np.ndarray:
    """Row indices in an order of which every stretch holds each stratum in proportion.

    Within its stratum of n rows a shuffled row of rank r gets the key (r + 1/2) / n, and all rows are
    sorted by key. Prefixes of the order are therefore stratified, nested subsets of any exact size,
    and a stratum of few rows is found in the middle: in train when splits are cut off the front.

    Args:
        strata: (rows,) code of each row's stratum.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(strata))
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    _, starts, sizes = np.unique(strata[by_stratum], return_index=True, return_counts=True)
    ranks = np.arange(len(strata)) - np.repeat(starts, sizes)
    keys = (ranks + 0.5) / np.repeat(sizes, sizes)
    return by_stratum[np.lexsort((rng.random(len(strata)), keys))]


def strata_of(rows: Dataset) -> np.ndarray:
    """(rows,) code of each row's stratum: its class, the rarest of several or of its entity types, its tenth."""
    import pandas as pd

    name = next((name for name in LABELS if name in rows.column_names), None)
    if name is None:
        return np.zeros(len(rows), np.int64)
    labels = rows[name][:]
    first = next((label for label in labels if label is not None), None)
    if isinstance(first, float):
        codes = pd.qcut(pd.Series(labels, dtype="float64"), BINS, labels=False, duplicates="drop")
        return codes.fillna(-1).to_numpy(np.int64)
    if isinstance(first, list):
        labels = _rarest([None if label is None else _distinct(label, name == "tags") for label in labels])
    return pd.factorize(np.asarray(labels, dtype=object))[0]


def _distinct(labels: Sequence[str], tags: bool) -> set[str]:
    """The labels of a row, or the entity types of its tags ("B-PER" and "I-PER" are PER)."""
    return {tag.partition("-")[2] for tag in labels} - {""} if tags else set(labels)


def _rarest(rows: Sequence[set[str] | None]) -> list[str | None]:
    """Of each row the label that fewest rows have ("" for none): what could get lost is divided in proportion."""
    counts = Counter(itertools.chain.from_iterable(filter(None, rows)))
    return [None if row is None else min(row, key=lambda label: (counts[label], label), default="") for row in rows]


def cut(rows: Dataset, sizes: Sequence[int], seed: int) -> list[Dataset]:
    """Stratified parts of the given sizes, and last what is left; each in the order of the rows."""
    order = stratified_order(strata_of(rows), seed)
    parts = np.split(order, np.cumsum(sizes))
    return [select(rows, np.sort(part)) for part in parts]


def subset(rows: Dataset, size: int, seed: int) -> Dataset:
    """A stratified subset; a smaller one of the same rows and seed lies within a larger one."""
    return rows if size >= len(rows) else cut(rows, [size], seed)[0]


def carve(splits: Mapping[str, Dataset], ratio: str | None, seed: int) -> dict[str, Dataset]:
    """The splits with validation, where it is missing, taken from train.

    A missing test split is taken too where validation is missing as well, or a ratio was
    asked for: who brings train and validation alone means to train on all of train.

    Raises:
        ValueError: the rows of train are too few.
    """
    _, for_validation, for_test = parse_ratio(ratio or DEFAULT_RATIO)
    if "train" not in splits:
        return dict(splits)
    has_validation, has_test = (any(name.startswith(kind) for name in splits) for kind in ("validation", "test"))
    wanted = {}
    if not has_validation and for_validation:
        wanted["validation"] = for_validation
    if not has_test and for_test and (ratio or not has_validation):
        wanted["test"] = for_test
    return dict(splits) | _divided(splits["train"], wanted, seed) if wanted else dict(splits)


def merged(splits: Mapping[str, Dataset]) -> Dataset:
    """All labelled rows of all splits; `row` is renumbered by `row_offsets`.

    Raises:
        ValueError: there are none.
    """
    from datasets import concatenate_datasets

    parts: list[Dataset] = []
    places: list[Place] = []
    for name, offset in row_offsets(splits).items():
        rows = _labelled(splits[name])
        places += [Place(p.path, p.first_row + offset, p.rows, p.first, p.unit) for p in remembered(rows)]
        moved: Any = np.asarray(rows["row"][:]) + offset
        feature = rows.features["row"]
        parts.append(rows.remove_columns("row").add_column("row", moved, feature=feature))
    if not parts:
        raise ValueError(f"--resplit: no row of {', '.join(splits)} has a label, and rows without one are left out")
    together = concatenate_datasets(parts)
    remember(together, places)
    return together


def row_offsets(splits: Mapping[str, Dataset]) -> dict[str, int]:
    """What `merged` adds to the row ids of each labelled split, so that they stay unique."""
    offsets, offset = {}, 0
    for name, rows in splits.items():
        if len(_labelled(rows)):
            offsets[name] = offset
            offset += max(rows["row"][:], default=-1) + 1
    return offsets


def _divided(rows: Dataset, wanted: Mapping[str, float], seed: int) -> dict[str, Dataset]:
    sizes = [round(share * len(rows)) for share in wanted.values()]
    if min(sizes) < 1 or sum(sizes) >= len(rows):
        raise ValueError(f"{len(rows)} rows are too few to take {' and '.join(wanted)} from; see --split-ratio")
    *parts, train = cut(rows, sizes, seed)
    return {"train": train, **dict(zip(wanted, parts, strict=True))}


def _labelled(rows: Dataset) -> Dataset:
    """The rows that have a label; all, where the task has none."""
    names = [name for name in LABELS if name in rows.column_names]
    known = [np.array([value is not None for value in rows[name][:]], bool) for name in names]
    kept = np.flatnonzero(np.logical_and.reduce(known)) if known else np.arange(len(rows))
    return rows if len(kept) == len(rows) else select(rows, kept)
