"""Train any registered model on any registered task, on one device or many.

accelerate launch scripts/train.py --task sst2 --model roberta-base
accelerate launch scripts/train.py                 # the embedded task and model, offline
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from registry.cli import GroupedCommand, friendly, training_options, typed_values
from registry.training.interruption import REQUEUE, leave_when_asked

if TYPE_CHECKING:
    from registry.tasks.base import Batch
    from registry.training.assembly import Choice, Job
    from registry.training.progress import Progress
    from registry.training.setup import Setup
    from registry.training.window import TrainWindow


@click.command(cls=GroupedCommand)
@training_options
@click.option("--config", type=click.Path(dir_okay=False), help="YAML file of option names and values.")
@click.option("--dry-run", is_flag=True, help="Check everything, show the plan, train nothing.")
@click.option("--estimate", "estimating", is_flag=True, help="Measure memory and time on a few updates, train nothing.")
@click.option("--profile", "profiling", is_flag=True, help="Show where the time of an update goes, train nothing.")
@friendly
def main(config: str | None, dry_run: bool, estimating: bool, profiling: bool, **arguments: Any) -> None:
    """Fine-tune a model on a task.

    scripts/plugins.py list shows what --task and --model can be; scripts/plugins.py show NAME their
    own options, which --task-option and --model-option set.
    """
    from registry.resolving import read_config
    from registry.training.assembly import choose
    from registry.training.control import partners

    asked = {"--dry-run": dry_run, "--estimate": estimating, "--profile": profiling}
    if sum(asked.values()) > 1:
        raise ValueError(f"{' and '.join(flag for flag, given in asked.items() if given)}: give one of them")
    leave_when_asked()
    choice = choose(typed_values(arguments), read_config(config) if config else {})
    with partners():
        run(choice, dry_run=dry_run, estimating=estimating, profiling=profiling)


def run(choice: Choice, *, dry_run: bool, estimating: bool, profiling: bool) -> None:
    """Everything from the options to the report."""
    from registry import reports
    from registry.inference import Interrupted
    from registry.reports.terminal import Screen
    from registry.run_directory import finish_run
    from registry.training.assembly import assemble
    from registry.training.engine_start import build_accelerator
    from registry.training.engines import finish as finish_engine
    from registry.training.engines import first_process_first
    from registry.training.estimate import estimate
    from registry.training.kernels import use_deterministic_kernels
    from registry.training.memory import fit_micro_batch
    from registry.training.profiling import profile
    from registry.training.results import finish, open_progress
    from registry.training.run_choice import going_on
    from registry.training.setup import build_setup
    from registry.training.summary import rehearse, summarise

    # ---------------------------------------------------------------- the engine, then data and model
    if choice.options.run.deterministic:
        use_deterministic_kernels()
    accelerator, precision = build_accelerator(choice.options.optimization, choice.resolved.origins["precision"])
    screen = Screen(shown=accelerator.is_main_process)
    with first_process_first(accelerator):
        job = assemble(choice, screen.line)
    setup = build_setup(job, accelerator, precision)
    if choice.options.optimization.micro_batch_size == "auto":
        fit_micro_batch(setup, choice.options.optimization.optimizer, screen.line)
    screen.summary(f"{choice.options.run.task} with {choice.options.run.model}", summarise(job, setup))
    if dry_run:
        screen.summary("one update", rehearse(job, setup))
        return
    if estimating:
        screen.summary("estimate", estimate(job, setup))
        return
    if profiling:
        screen.summary("profile", profile(job, setup))
        return

    # ---------------------------------------------------------------- training, then the best weights, scored once
    progress = open_progress(job, setup, screen)
    screen.start(progress.state.update, setup.total_updates)
    try:
        train(job, setup, progress)
        results = finish(job, setup, progress)
        if accelerator.is_main_process:
            reports.write_all(progress.directory.path, screen.line)
            finish_run(progress.directory)
    except Interrupted:
        progress.leave()
        how = going_on(choice.options, progress.directory.path)
        place = "there" if progress.saved == progress.state.update else f"update {progress.saved}"
        screen.line(f"stopped at update {progress.state.update}; {how} from {place}")
        finish_engine(accelerator)
        sys.exit(REQUEUE)
    except OSError as error:  # a full disk, most likely
        raise ValueError(
            f"{progress.directory.path}: {error}; what is saved stands, and the run goes on from there"
        ) from None
    finally:
        screen.stop()
        progress.close()
    screen.closing(results, progress.directory.path, choice.options.run.plugin_file)
    finish_engine(accelerator)


def train(job: Job, setup: Setup, progress: Progress) -> None:
    """THE loop: every optimizer update of the run; what happens between updates is `progress`'s."""
    from registry.training.frozen import reuse_pooled
    from registry.training.recovery import within_memory

    accelerator, model, optimizer, schedule = setup.accelerator, setup.model, setup.optimizer, setup.schedule
    optimization = job.options.optimization
    grad_norm = None

    if progress.goes_on:
        reuse_pooled(job, setup, progress.display, progress.asked_to_stop)
    progress.before_first_update()
    for update in setup.updates.between(progress.state.update, setup.total_updates):
        if progress.state.stopped_early:
            break
        count = progress.agree(sum(map(job.task.count, update.micro_batches)))

        model.train()
        compute = partial(add_gradients, job, setup, progress.window, count)
        if optimization.micro_batch_size == "auto":
            within_memory(progress, update, compute)
        else:
            compute(update.micro_batches)
        setup.exchange_gradients()
        if optimization.clip_norm:
            grad_norm = accelerator.clip_grad_norm_(model.parameters(), optimization.clip_norm)
        optimizer.step()
        optimizer.zero_grad()

        skipped = accelerator.optimizer_step_was_skipped
        if not skipped:
            schedule.step()
        progress.after_update(update, grad_norm, skipped=skipped)


def add_gradients(job: Job, setup: Setup, window: TrainWindow, count: float, micro_batches: Sequence[Batch]) -> None:
    """Forward and backward of an update's micro-batches; `count` is the scored items of all processes."""
    from registry.inference import to_device
    from registry.training.engines import micro_step

    accelerator = setup.accelerator
    for number, batch in enumerate(micro_batches, start=1):
        scored = job.task.count(batch)
        batch = to_device(batch, accelerator.device)
        with micro_step(accelerator, setup.model, last=number == len(micro_batches)):
            # The loss is a sum over items. Engines average gradients over processes, so that this
            # weighs every item of the update equally, wherever it was computed.
            loss, outputs = setup.objective(setup.model, batch)
            accelerator.backward(loss * (accelerator.num_processes / (count or 1)))
        window.add(outputs, batch, loss, scored)
        del batch, loss, outputs  # the next forward pass needs their memory


if __name__ == "__main__":
    main()
