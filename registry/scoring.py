"""Scoring a run: on one of its own splits, exactly as they were, or on somebody's file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from registry import tasks
from registry.data.cache import rows_digest
from registry.data.prepare import Prepared, prepare
from registry.data.source import source_of
from registry.inference import EncodedExamples
from registry.options import Data, Options, Splits
from registry.run_directory import read_json
from registry.runs import Run
from registry.tasks.base import Metrics

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("validation", "test", "train")


def split_rows(run: Run, split: str | None, options: Options) -> tuple[str, Dataset]:
    """(name, cleaned rows) of one of the run's splits; by default validation.

    Args:
        options: of the run's training; only where the data lies may differ.

    Raises:
        ValueError: there is no such split, it has no labels, or its rows are no longer those of the training.
    """
    prepared = prepare(
        run.task.load(source_of(options.data, options.splits.drop_invalid)), options.splits, options.cleaning
    )
    names = sorted(prepared.splits, key=lambda name: (SPLITS.index(name.split("_")[0]), name))
    split = split or names[0]
    if split not in prepared.splits:
        raise ValueError(f"--split {split}: this run has {', '.join(names)}")
    saved = read_json(run.directory.splits)["splits"]
    known = run.record.data.get(split)
    same = prepared.row_ids["splits"][split] == saved.get(split)
    if not same or (known is not None and rows_digest(prepared.splits[split]) != known):
        raise ValueError(f"--split {split}: its rows are not those of the training; the data have changed since")
    return split, _labelled(run, prepared, split, f"--split {split}")


def file_rows(run: Run, pattern: str, options: Options) -> Dataset:
    """Cleaned rows of a person's file or glob.

    Raises:
        ValueError: in one line, naming file, row and column; also where no row has a label.
    """
    task = run.task.for_head(run.record.head)
    source = dataclasses.replace(source_of(options.data, options.splits.drop_invalid), data_dir=None)
    raw = task.load(dataclasses.replace(source, files={"test": pattern}))
    splits = dataclasses.replace(options.splits, max_test_rows=None, resplit=False)
    return _labelled(run, prepare(raw, splits, options.cleaning), "test", pattern)


def task_rows(run: Run, name: str, split: str | None, data: Data, options: Options) -> tuple[str, Dataset]:
    """(name, cleaned rows) of another task with the same labels; by default of test, where that is labelled.

    Args:
        data: where that task's data lies.
        options: of the run's training; its cleaning is done here too, and its invalid rows dropped.

    Raises:
        ValueError: the task is of another family, has no such split, or no labels in it.
    """
    task = tasks.get(name)
    if task.family != run.task.family:
        raise ValueError(f"--task {name}: is of the family {task.family}, this run of {run.task.family}")
    drop = options.splits.drop_invalid
    task = task.for_head(run.record.head)
    prepared = prepare(task.load(source_of(data, drop)), Splits(drop_invalid=drop), options.cleaning)
    known = [found for found, rows in prepared.splits.items() if prepared.checks["unlabelled"][found] < len(rows)]
    split = split or next((found for found in ("test", "validation") if found in known), "validation")
    if split not in prepared.splits:
        raise ValueError(f"--split {split}: {name} has {', '.join(prepared.splits)}")
    return f"{name}-{split}", _labelled(run, prepared, split, f"--task {name} --split {split}")


def score(run: Run, encoded: EncodedExamples, on_batch: Callable[[int], None] = lambda examples: None) -> Metrics:
    """The task's metrics over encoded examples; `NotFinite` where the model's outputs are no numbers."""
    return run.task.metrics(run.join(run.reduce(encoded, on_batch=on_batch)), run.record.head)


def _labelled(run: Run, prepared: Prepared, split: str, where: str) -> Dataset:
    rows: Any = prepared.splits[split]
    wanted = set(run.task.roles) - set(run.task.inputs())
    missing = wanted and not wanted & set(rows.column_names)
    if missing or prepared.checks["unlabelled"][split] == len(rows):
        raise ValueError(f"{where}: no row has a label to score; --label-column names it, predict.py needs none")
    return rows
