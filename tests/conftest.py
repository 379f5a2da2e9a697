"""Finished runs of small models, made without training: what evaluate, predict, serve and export read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """`make_run(task, model, model_options, **options)`: directory of a finished run, made once for the same call."""
    made: dict[str, Path] = {}

    def make(
        task: str = "demo", model: str = "tiny", model_option: dict[str, Any] | None = None, **options: Any
    ) -> Path:
        key = repr((task, model, model_option, sorted(options.items())))
        if key not in made:
            made[key] = write_finished_run(
                tmp_path_factory.mktemp("runs") / f"{task}-{model}", task, model, model_option or {}, options
            )
        return made[key]

    return make


def write_finished_run(
    path: Path, task_name: str, model_name: str, model_options: dict[str, Any], options: dict[str, Any]
) -> Path:
    """A finished run of random weights on a few rows of the task; `options` are those of training."""
    import torch

    from registry import models, tasks
    from registry.data.prepare import prepare
    from registry.data.source import source_of
    from registry.plugins import options_of, with_options
    from registry.resolving import resolve
    from registry.run_directory import Named, Record, RunDirectory, finish_run, save_model, write_json, write_run
    from registry.tasks.base import Limits

    resolved = resolve({"task": task_name, "model": model_name, "max_train_rows": 200, **options}, {}, {}).options
    task = with_options(tasks.get(task_name), resolved.run.task_option)
    task = task.for_columns(source_of(resolved.data).columns)
    spec, source = models.resolve_model(model_name)
    spec = with_options(spec, model_options)
    prepared = prepare(task.load(source_of(resolved.data)), resolved.splits, resolved.cleaning)
    head = task.head(prepared.uncut)
    torch.manual_seed(0)
    tokenizer = spec.tokenizer(source, prepared.texts)
    module = spec.build(head, tokenizer, source)
    # Untrained heads answer nearly the same to everything: larger weights make the answers differ.
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(2)
    limits = Limits(resolved.text.max_length, resolved.text.truncation)
    directory = RunDirectory(path)
    record = Record(
        task=Named(task_name, options_of(task), dataclasses.asdict(tasks.REGISTRY.origin(task_name))),
        model=Named(model_name, options_of(spec), dataclasses.asdict(models.REGISTRY.origin(model_name))),
        source=source,
        head=head,
        options=resolved.flat(),
        limits=limits,
        seed=resolved.run.seed,
        data=prepared.digests(),
    )
    write_run(directory, record)
    write_json(directory.splits, prepared.row_ids)
    save_model(directory, spec, module, module.state_dict(), tokenizer)
    finish_run(directory)
    return path
