"""The beginning and the end of a run directory: its record first; at the end the best weights and their scores."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import yaml

from registry import models, tasks
from registry.models.adapters import merged, unadapted
from registry.plugins import options_of
from registry.run_directory import (
    Named,
    Record,
    RunDirectory,
    record_results,
    save_model,
    tidy,
    write_json,
    write_run,
    written,
)
from registry.tasks.base import Metrics
from registry.training.assembly import Job
from registry.training.checkpoints import Checkpoints, damage
from registry.training.engines import autocast_alone, describe_engine, gathered_state, is_sharded, numbers, zero_stage
from registry.training.frozen import final_examples
from registry.training.launch import configuration_file
from registry.training.lock import RunLock
from registry.training.peak_memory import peak_memory_mb
from registry.training.processor import launcher
from registry.training.progress import Display, Progress
from registry.training.resuming import check_agreement, frozen_weights, read_state
from registry.training.run_choice import check_one_place, destination
from registry.training.setup import Setup
from registry.training.state import LoopState

KEPT_SCORES = 50
"""Classes of which a saved prediction has the score, the likeliest and the row's own."""

PLACE = ("output_dir", "overwrite", "resume")
"""Options that config.yaml leaves out: where a run goes is for each command to say, and what it may remove there."""


def open_progress(job: Job, setup: Setup, display: Display) -> Progress:
    """Choose or find the run directory, lock it, write its record, and start or continue there.

    Raises:
        ValueError: it is finished, in use, or was started with options, data or processes that
            would make another training.
    """
    options, main = job.options, setup.accelerator.is_main_process
    directory, continues = destination(options)
    setup.control.wait()  # nobody looks at the directory after the first process has begun to write
    checkpoints = Checkpoints(directory.checkpoints, setup.control, main=main, keep=options.checkpoints.keep)
    if continues and checkpoints.latest > setup.total_updates:  # the best weights that lie there may be later ones
        raise ValueError(
            f"{directory.path}: this run has come to update {checkpoints.latest} and would now end at "
            f"{setup.total_updates}; give it as many as before, or --overwrite to start anew"
        )
    lock = RunLock(directory.path)
    if main:
        lock.acquire()
        try:
            write_beginning(job, directory, setup.accelerator.num_processes, replace=not continues)
        except OSError as error:
            raise ValueError(f"{directory.path}: cannot be written ({error.strerror or error})") from None
    setup.control.wait()
    check_one_place(directory, setup.control)
    checkpoint = chosen_checkpoint(checkpoints, options.checkpoints.resume, display) if continues else None
    facts = facts_of(job, setup)
    check_agreement(setup.control.gather([{**facts, "labels": job.head.to_json()}]))
    state = read_state(checkpoint, facts) if checkpoint is not None else LoopState()
    if len({*setup.control.each(state.update)}) > 1:
        raise ValueError(
            f"{directory.path}: the processes see different checkpoints there; it must be one place for all"
        )
    if checkpoint is not None:
        if main and options.checkpoints.resume != "auto":
            checkpoints.forget_after(state.update)
        display.line(f"continuing {directory.path} from update {state.update}")
    return Progress(
        job, setup, directory, state, display, checkpoints=checkpoints, checkpoint=checkpoint, facts=facts, lock=lock
    )


def write_beginning(job: Job, directory: RunDirectory, processes: int, *, replace: bool) -> None:
    """What is known of a run before it trains: its record, options, rows and plugin file.

    Args:
        replace: another run, which lies there, goes first.

    Raises:
        OSError: the disk is full, or refuses otherwise.
    """
    tidy(directory)
    write_run(directory, record_of(job, processes), replace=replace)
    if job.choice.plugin:
        with written(directory.plugin, "wb") as file:
            file.write(job.choice.plugin)
    write_json(directory.splits, job.prepared.row_ids)
    given = {name: value for name, value in job.options.flat().items() if value not in (None, {}, [])}
    values = {name: value for name, value in given.items() if name not in PLACE}
    with written(directory.config_yaml) as file:
        yaml.safe_dump(values, file, allow_unicode=True, sort_keys=False)


def chosen_checkpoint(checkpoints: Checkpoints, resume: str, display: Display) -> Path | None:
    """The checkpoint named by --resume, or the newest complete one.

    Raises:
        ValueError: the named one is damaged or none.
    """
    if resume in ("auto", "never"):
        return checkpoints.newest(display.line)
    problem = damage(Path(resume))
    if problem is not None:
        raise ValueError(f"--resume {resume}: {problem}")
    return Path(resume)


def facts_of(job: Job, setup: Setup) -> dict[str, Any]:
    """What a continued run must have in common with the one before, beside its options."""
    data = job.options.data
    files = {"train": data.train_file, "validation": data.validation_file, "test": data.test_file}
    place = data.data_dir or data.train_file or f"task {job.options.run.task}"
    engine = str(setup.accelerator.distributed_type.value)
    return {
        "number of processes": setup.accelerator.num_processes,
        "engine": engine,
        "device": setup.accelerator.device.type,
        "ZeRO stage": zero_stage(setup.accelerator),
        "precision": setup.precision.name,
        "plugin file": hashlib.sha256(job.choice.plugin).hexdigest() if job.choice.plugin else None,
        **{f"{split} rows of {files.get(split) or place}": rows.fingerprint for split, rows in job.encoded.items()},
        # Last, because other rows may leave other weights frozen, and the first difference is the one that is told.
        f"frozen weights of {job.options.run.model}": None if engine == "FSDP" else frozen_weights(setup.module),
    }


def record_of(job: Job, processes: int) -> Record:
    """What `run.json` says of the job."""
    run, model = job.options.run, job.choice.model_name
    return Record(
        task=Named(run.task, options_of(job.task), dataclasses.asdict(tasks.REGISTRY.origin(run.task))),
        model=Named(model, options_of(unadapted(job.spec)), dataclasses.asdict(models.REGISTRY.origin(model))),
        source=job.choice.source,
        head=job.head,
        options=job.options.flat(),
        limits=job.limits,
        seed=run.seed,
        data=job.prepared.digests(),
        launch={"processes": processes, "config_file": configuration_file(launcher()[1])},
    )


def finish(job: Job, setup: Setup, progress: Progress) -> dict[str, Metrics]:
    """Load the best weights as anyone would, score validation and test with them, and write the results.

    Returns the metrics by split ("train" holds the training's speed and cost).

    Raises:
        Interrupted: some process was asked to stop; the whole of this is done again when the run goes on.
    """
    directory, accelerator = progress.directory, setup.accelerator
    results: dict[str, Metrics] = {"train": training_cost(progress, setup)}
    if progress.state.best is None:  # nothing was selected: the last weights are the result
        with setup.averaged():
            weights = gathered_state(accelerator, setup.model)
            if accelerator.is_main_process:
                save_model(directory, job.spec, setup.module, weights, job.tokenizer)
    if setup.optimizer is not None and is_sharded(accelerator):  # what fits in pieces may not fit beside a whole one
        progress.release_engine()
    if job.options.adapters.merge_adapter and accelerator.is_main_process:
        plain = merged(job.spec, directory.model, job.head)
        save_model(directory, unadapted(job.spec), plain, plain.state_dict(), job.tokenizer)
    setup.control.wait()
    best = job.spec.load(directory.model, job.head).to(accelerator.device).eval()
    setup.scorer = dataclasses.replace(setup.scorer, autocast=autocast_alone(accelerator))
    if not job.options.kernels.whole_last_layer:
        job.spec.spare_last_layer(best)
    for split, examples in final_examples(job, setup, best, progress.display, progress.asked_to_stop).items():
        metrics, joined = progress.score(best, split, examples)
        if accelerator.is_main_process:
            write_predictions(job, directory, split, joined)
            if metrics:
                results[split] = metrics
    if accelerator.is_main_process:
        for split, metrics in results.items():
            if split != "train":
                progress.write(f"best_{split}", metrics)
        write_json(
            directory.metrics_json,
            {
                "task": job.options.run.task,
                "model": job.options.run.model,
                "updates": progress.state.update,
                "epochs": progress.epochs,
                "best_update": progress.state.best_update,
                **results,
            },
        )
        progress.sync()
        record_results(
            directory,
            primary_metric=progress.selection.metric,
            minimize=progress.selection.minimize,
            less_is_better=job.task.less_is_better,
            engine=describe_engine(accelerator),
            precision=setup.precision.name,
            checks=job.prepared.checks,
            parameter_groups=setup.groups,
        )
    setup.control.wait()
    return results


def write_predictions(job: Job, directory: RunDirectory, split: str, joined: dict[str, Any]) -> None:
    """predictions/<split>.jsonl, a line a row: what was given, its `label`, the `prediction` and its scores."""
    columns = job.prepared.splits[split][:]
    place = {row: index for index, row in enumerate(columns["row"])}
    order = [place[int(row)] for row in joined["row"]]
    examples = {name: [values[i] for i in order] for name, values in columns.items()}
    labels, keys = job.task.truths(examples), job.task.prediction_keys
    if not keys:
        return
    with written(directory.predictions / f"{split}.jsonl") as file:
        for index, decoded in enumerate(job.task.decode(joined, examples, job.head, job.tokenizer)):
            given = {name: values[index] for name, values in examples.items()}
            key = next((key for key in keys if key in decoded), None)
            if key is None:
                raise ValueError(
                    f"task {job.options.run.task}: decode() gives none of {', '.join(keys)} (prediction_keys)"
                )
            prediction = decoded.pop(key)
            rest = {name: value for name, value in decoded.items() if name not in given}
            line = {**given, **rest, "label": labels[index], "prediction": prediction}
            if "scores" in line and job.head.problem == "single_label":
                line["scores"] = _highest(line["scores"], labels[index])
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _highest(ranked: dict[str, float], label: str | None) -> dict[str, float]:
    """The scores that reports read: of a thousand classes the rest would make files of gigabytes."""
    kept = dict(itertools.islice(ranked.items(), KEPT_SCORES))
    return kept if label is None or label not in ranked else {**kept, label: ranked[label]}


def training_cost(progress: Progress, setup: Setup) -> dict[str, Any]:
    """Speed, memory and time of the training loop, evaluation and checkpoints excluded; what checkpoints cost it.

    `peak_memory_mb` is that of the process with the most, `peak_memory_mb_by_rank` that of each.
    """
    state = progress.state
    memory = setup.control.each(peak_memory_mb(setup.accelerator.device))
    seconds = max(state.seconds, 1e-9)
    return {
        "samples_per_second": state.examples / seconds,
        "tokens_per_second": state.tokens / seconds,
        "seconds": state.seconds,
        "checkpoint_seconds": state.saving,
        "checkpoint_share": state.saving / (seconds + state.saving),
        "peak_memory_mb": max(memory),
        "peak_memory_mb_by_rank": memory,
        "skipped_updates": state.skipped,
        "precision": setup.precision.name,
        "engine": describe_engine(setup.accelerator),
        "parameters": sum(map(numbers, setup.module.parameters())),
        "trainable_parameters": sum(numbers(p) for p in setup.module.parameters() if p.requires_grad),
    }
