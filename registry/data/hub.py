"""Data sets of the Hub, or of its cache when there is no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset

    from registry.data.reading import Chunks


def hub_chunks(
    hub: str, subset: str | None, revision: str | None, splits: Mapping[str, str]
) -> Iterator[tuple[str, Chunks]]:
    """(our split, its chunks) of a data set; without `splits` those named train…, validation… and test….

    Raises:
        ValueError: the data set, subset, revision or a split cannot be had.
    """
    loaded = _load(hub, subset, revision)
    wanted = dict(splits) or {name: name for name in loaded if name.startswith(("train", "validation", "test"))}
    for split, theirs in wanted.items():
        if theirs not in loaded:
            raise ValueError(f"data set {hub} has no split {theirs!r}; it has {', '.join(loaded)}")
        yield split, _chunks(f"{hub}, {theirs}", loaded[theirs])


def _load(hub: str, subset: str | None, revision: str | None) -> Mapping[str, Dataset]:
    from datasets import load_dataset

    try:
        return load_dataset(hub, subset, revision=revision)
    except (OSError, ValueError, RuntimeError) as error:  # what the client raises, from no network to a wrong name
        name = f"{hub} ({subset})" if subset else hub
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"data set {name} cannot be loaded: {reason}; --data-dir takes a local copy") from error


def _chunks(name: str, dataset: Dataset) -> Chunks:
    import pyarrow as pa

    from registry.data.formats.chunks import Chunk, rows_of_size
    from registry.data.formats.parquet import as_text, class_names

    classes = class_names(dataset.features.arrow_schema)
    table = dataset.data.table
    seen = 0
    for batch in table.to_batches(max_chunksize=rows_of_size(table.nbytes, len(table))):
        yield (
            name,
            Chunk(as_text(pa.Table.from_batches([batch]), classes), range(seen + 1, seen + 1 + len(batch)), "row"),
        )
        seen += len(batch)
