"""From raw splits to the rows that are learned from: cleaned, checked, divided, cut to size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.data import checks as checking
from registry.data import splitting
from registry.data.cache import rows_digest
from registry.data.cleaning import Cleaner
from registry.data.places import where
from registry.data.reading import SPLITS
from registry.data.roles import TEXTS
from registry.data.tables import select
from registry.options import Cleaning, Splits

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


@dataclass(frozen=True)
class Prepared:
    """What a run trains and is evaluated on.

    Args:
        splits: canonical columns and `row`.
        uncut: the splits before they were cut to size; a small part of train has the label space of the whole.
        checks: findings (see `prepare`), JSON-able; `checks.messages` words them.
        row_ids: JSON-able: for every split the ids of its rows ("0-4,7") and the split of the source they number.
    """

    splits: DatasetDict
    uncut: DatasetDict
    checks: dict[str, Any]
    row_ids: dict[str, Any]

    def texts(self) -> Iterator[str]:
        """The training texts, for tokenizers that learn from them."""
        train = self.splits["train"]
        names = [name for name in TEXTS if name in train.column_names] or ["tokens"]
        for rows in train.select_columns(names).iter(1000):
            for name in names:
                for value in rows[name]:
                    if value:
                        yield value if isinstance(value, str) else " ".join(value)

    def digests(self) -> dict[str, str]:
        """Of every split a digest of its rows, for who wants to know later whether they are still the same."""
        return {name: rows_digest(rows) for name, rows in self.splits.items()}


def prepare(raw: DatasetDict, splits: Splits = Splits(), cleaning: Cleaning = Cleaning()) -> Prepared:
    """Clean, check, divide and cut the rows that a task has loaded.

    The checks hold `rows`, `labels` (balance) and `unlabelled` by split as they are at the end,
    `invalid` (rows left out), `duplicates` and `conflicts` within train before it was divided, `leaks`
    (rows of another split whose text also stands in train) and `dropped_leaks`. Whoever encodes the
    rows adds `truncated`, the share of texts that were cut.

    Raises:
        ValueError: an empty text or label (unless they are dropped), an empty split, too few rows to divide, two rows
            of a split with one number.
    """
    from datasets import DatasetDict

    cleaned, invalid = _without_invalid(Cleaner(cleaning).splits(raw), splits.drop_invalid)
    for name, rows in cleaned.items():
        if len(np.unique(np.asarray(rows["row"][:]))) < len(rows):
            raise ValueError(f"{name}: two rows have the same number; a task's load() must give each its own")
    divided, found = _divided(cleaned, splits)
    order = sorted(divided, key=lambda name: SPLITS.index(name.split("_")[0]))
    cut = {name: _cut(name, divided[name], splits) for name in order}
    found |= {
        "invalid": invalid,
        "rows": {name: len(rows) for name, rows in cut.items()},
        "labels": {name: checking.balance(rows) for name, rows in cut.items()},
        "unlabelled": {name: checking.unlabelled(rows) for name, rows in cut.items()},
    }
    offsets = splitting.row_offsets(cleaned) if splits.resplit else {}
    return Prepared(DatasetDict(cut), DatasetDict(divided), found, _row_ids(cut, set(raw), offsets))


def _without_invalid(raw: Mapping[str, Dataset], drop: bool) -> tuple[dict[str, Dataset], dict[str, Any]]:
    kept, report = {}, {}
    for name, rows in raw.items():
        wrong = checking.invalid_rows(rows, needs_label=name == "train", unreadable=drop)
        places = [f"{where(rows, rows[at]['row'])}: {wrong[at]}" for at in list(wrong)[: checking.EXAMPLES]]
        if wrong and not drop:
            more = f" (and {len(wrong) - 1} more rows)" if len(wrong) > 1 else ""
            raise ValueError(f"{name}: {places[0]}{more}; --drop-invalid leaves such rows out")
        if wrong:
            rows = select(rows, np.setdiff1d(np.arange(len(rows)), list(wrong)))
            report[name] = {"rows": len(wrong), "first": places[0], "examples": places}
        if not len(rows):
            raise ValueError(f"{name}: the split holds no rows")
        kept[name] = rows
    return kept, report


def _divided(source: Mapping[str, Dataset], splits: Splits) -> tuple[dict[str, Dataset], dict[str, Any]]:
    """The splits, and what was found in the source's train, between its splits and after dividing."""
    given = {"train": splitting.merged(source)} if splits.resplit else dict(source)
    found: dict[str, Any] = {
        "duplicates": 0,
        "conflicts": {"texts": 0, "examples": []},
        "leaks": {},
        "dropped_leaks": 0,
    }
    if "train" not in given:
        return given, found
    hashes = checking.text_hashes(given["train"])
    texts, examples = checking.conflicts(given["train"], hashes)
    found["duplicates"] = len(hashes) - len(np.unique(hashes))
    found["conflicts"] = {"texts": texts, "examples": examples}
    # What the source's own splits share is counted and dropped before validation is taken from train.
    given = _without_leaks(given, tuple(given), splits.drop_leaks, found)
    divided = splitting.carve(given, splits.split_ratio, splits.split_seed)
    return _without_leaks(divided, tuple(divided.keys() - given.keys()), splits.drop_leaks, found), found


def _without_leaks(
    splits: dict[str, Dataset], others: Sequence[str], drop: bool, found: dict[str, Any]
) -> dict[str, Dataset]:
    """Count rows of `others` that stand in train, and drop them from train where asked."""
    hashes = {name: checking.text_hashes(splits[name]) for name in others if name != "train"}
    if not hashes:
        return splits
    train = checking.text_hashes(splits["train"])
    counts = {name: int(np.isin(other, train).sum()) for name, other in sorted(hashes.items())}
    found["leaks"] |= counts
    if not drop or not any(counts.values()):
        return splits
    clean = ~np.isin(train, np.concatenate(list(hashes.values())))
    found["dropped_leaks"] += int((~clean).sum())
    return splits | {"train": select(splits["train"], np.flatnonzero(clean))}


def _cut(name: str, rows: Dataset, splits: Splits) -> Dataset:
    kind = name.split("_")[0]
    size = len(rows) if name != "train" else max(1, round(splits.train_fraction * len(rows)))
    limit = getattr(splits, f"max_{kind}_rows", None)
    return splitting.subset(rows, min(size, limit or size), splits.split_seed)


def _row_ids(splits: Mapping[str, Dataset], sources: set[str], offsets: Mapping[str, int]) -> dict[str, Any]:
    """`rows` of every split; `source` is the split of the source that they number, or "merged" (see `offsets`)."""
    found = {}
    for name, rows in splits.items():
        source = "merged" if offsets else name if name in sources else "train"
        found[name] = {"source": source, "rows": ranges(np.asarray(rows["row"][:]))}
    return {"splits": found, "offsets": dict(offsets)}


def ranges(rows: np.ndarray) -> str:
    """Row ids as text: "0-4,7,9-11"."""
    starts = np.flatnonzero(np.diff(rows, prepend=rows[:1] - 2) != 1)
    ends = np.append(starts[1:], len(rows)) - 1
    pairs = zip(rows[starts].tolist(), rows[ends].tolist(), strict=True)
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in pairs)
