"""What happens between updates: logging, evaluation, the best weights, patience, checkpoints, the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from registry.allocator import SeldomTrim
from registry.inference import Interrupted
from registry.run_directory import RunDirectory, interrupt_run, save_model
from registry.run_log import RunLog
from registry.tasks.base import Metrics
from registry.trackers import open_trackers
from registry.training.alarm import FiniteWatch
from registry.training.assembly import Job
from registry.training.batches import Update
from registry.training.checkpoints import Checkpoints
from registry.training.engine_state import weight_norm
from registry.training.engines import gathered_state
from registry.training.fsdp import piece
from registry.training.interruption import Interruption
from registry.training.lock import RunLock
from registry.training.peak_memory import forget_peak
from registry.training.resuming import interval, restore, write_checkpoint
from registry.training.selection import Selection
from registry.training.setup import Setup
from registry.training.state import LoopState
from registry.training.window import TrainWindow

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker
    from torch import nn

    from registry.data.encoded import Encoded


class Display(Protocol):
    """Where progress is shown to a person."""

    def line(self, text: str) -> None:
        """One line of text."""

    def update(self, done: int, total: int, values: dict[str, float]) -> None:
        """The bar and the values beside it."""

    def counter(self, what: str, total: int) -> Callable[[int], None]:
        """To be told after every batch of a pass that trains nothing how many of its `total` rows it had."""

    def evaluation(self, split: str, update: int, metrics: Metrics, best: bool) -> None:
        """One line for an evaluation."""


class Progress:
    """The run between its updates. All processes call the same methods; the first one writes.

    Args:
        checkpoint: the complete checkpoint that this process goes on from, whose `state` it is.
        facts: what a continued run must have in common with the one that wrote a checkpoint.
    """

    def __init__(
        self,
        job: Job,
        setup: Setup,
        directory: RunDirectory,
        state: LoopState,
        display: Display,
        *,
        checkpoints: Checkpoints,
        checkpoint: Path | None,
        facts: dict[str, Any],
        lock: RunLock,
    ) -> None:
        self.job, self.setup, self.directory, self.state, self.display = job, setup, directory, state, display
        self.checkpoints, self.facts, self.lock = checkpoints, facts, lock
        self.main = setup.accelerator.is_main_process
        self.log = RunLog(directory.path, state.logged, self._trackers()) if self.main else None
        self.window = TrainWindow(job.task, job.head, setup.accelerator.device)
        self.watch = FiniteWatch()
        self.trim = SeldomTrim()
        self.saved = state.update
        """Where the run goes on: the update of its newest checkpoint."""
        self.interruption = Interruption(directory.path / "STOP")
        self.selection = Selection.of(job)
        self._every_updates, self._every_seconds = interval(job.options.checkpoints.checkpoint_every)
        self._saved_at, self._since = time.monotonic(), time.perf_counter()
        self.interruption.listen()
        if checkpoint is not None:
            setup.updates.micro_batch_size = state.micro_batch_size or setup.updates.micro_batch_size
            restore(checkpoint, setup, self.window)
        forget_peak(setup.accelerator.device)

    @property
    def epochs(self) -> float:
        """Passes over the training rows so far."""
        return self.state.update / max(self.setup.updates_per_epoch, 1)

    @property
    def goes_on(self) -> bool:
        """Whether an update or an evaluation is left."""
        state = self.state
        done = state.update >= self.setup.total_updates and state.evaluated == state.update
        return not (done or state.stopped_early)

    def before_first_update(self) -> None:
        """Score the untrained model, or catch up on the evaluation that an interruption cut short."""
        self._tick()  # what a frozen encoder took for its one run
        self._evaluate_if_due()
        self._since = time.perf_counter()

    def agree(self, count: float) -> float:
        """Scored items of the coming update over all processes.

        Raises:
            ValueError: the loss or the gradients of an earlier update are not finite.
            Interrupted: one of them was asked to stop.
        """
        bad = self.watch.bad_update is not None
        late = self._every_seconds is not None and time.monotonic() - self._saved_at > self._every_seconds
        asked = self.interruption.requested()
        total, bads, lates, stops = self.setup.control.sum(count, float(bad), float(late and self.main), float(asked))
        if bads:
            self._not_finite()
        if stops:
            raise Interrupted
        if lates:
            self._save()
        return total

    def after_update(self, update: Update, grad_norm: Tensor | float | None, *, skipped: bool) -> None:
        """Count the update; log, evaluate and save what is due."""
        state = self.state
        state.update = update.number + 1
        state.examples += update.examples
        state.tokens += update.tokens
        state.skipped += skipped
        self.watch.add(state.update, self.window.loss)
        overflowed = skipped and self.setup.precision.name == "fp16"  # and changed nothing
        if grad_norm is not None and not overflowed:
            self.watch.add(state.update, piece(torch.as_tensor(grad_norm)))  # a plain number under DeepSpeed
        average = self.setup.average
        if average is not None and average.every_update:
            average.update()
        if state.update % self.job.options.logging.log_every == 0 or state.update == self.setup.total_updates:
            self._log_training(grad_norm)
        self._evaluate_if_due()
        if self._every_updates and state.update % self._every_updates == 0:
            self._save()

    def write(self, split: str, values: Metrics) -> None:
        """Log values at the update where the run stands; on the first process alone."""
        if self.log is not None and values:
            self.log.write(self.state.update, self.epochs, split, values)

    def _trackers(self) -> list[GeneralTracker]:
        return open_trackers(self.job.options.logging.tracker, self.directory.path, self.job.options.flat())

    def leave(self) -> None:
        """Save and let go, because somebody asked for it; what asked is done with."""
        if not self.setup.released:
            self._save()
        if self.main:
            self.interruption.honoured()
            interrupt_run(self.directory)
        self.close()

    def release_engine(self) -> None:
        """Free the memory of model and optimizer after a last checkpoint: `leave` can write none any more."""
        self._save()
        self.setup.release()

    def sync(self) -> None:
        """Everything logged so far is on disk when this returns."""
        if self.log is not None:
            self.log.sync()

    def close(self) -> None:
        """Flush and close the log, and let others have the run directory."""
        log, self.log = self.log, None
        with suppress(OSError):  # what has to last was synced before, or its error is being told
            if log is not None:
                log.close()
        self.lock.release()

    def _evaluate_if_due(self) -> None:
        state = self.state
        every = self.job.options.evaluation.evaluate_every or self.setup.updates_per_epoch
        due = state.update % every == 0 or state.update == self.setup.total_updates
        if not due or state.evaluated == state.update:
            return
        self._settle(weights=True)  # without validation, too: the last weights are then the result
        self._take_into_average()
        self._tick()
        self._evaluate()  # interrupted, it is due again when the run goes on
        self._since = time.perf_counter()

    def _evaluate(self) -> None:
        """Score the weights, or their average."""
        with self.setup.averaged() if self.state.update else nullcontext():
            self._score()

    def _take_into_average(self) -> None:
        """Averages of a few moments take those of evaluations, whether or not there is a validation split."""
        average, state = self.setup.average, self.state
        if average is not None and not average.every_update and state.averaged != state.update > 0:
            average.update()
            state.averaged = state.update

    def _score(self) -> None:
        """Log what training and validation, where there is one, have of metrics; keep the best weights."""
        scores = {
            split: self.score(self.setup.model, split, encoded)[0] for split, encoded in self.setup.validation.items()
        }
        trained = self.window.metrics(self.setup.control.gather(self.window.take_reduced()))
        self.write("train", {name: value for name, value in trained.items() if name != "loss"})
        if self.log is not None and self.job.options.logging.histograms:
            self.log.write_histograms(self.state.update, self.setup.module, piece)
        patience = self.job.options.evaluation.patience
        is_best = "validation" in scores and self.selection.record(self.state, scores["validation"], patience)
        for split, metrics in scores.items():
            self.write(split, metrics)
            self.display.evaluation(split, self.state.update, metrics, is_best and split == "validation")
        if is_best:
            weights = gathered_state(self.setup.accelerator, self.setup.model)
            if self.main:
                save_model(self.directory, self.job.spec, self.setup.module, weights, self.job.tokenizer)
        self.state.evaluated = self.state.update

    def _log_training(self, grad_norm: Tensor | float | None) -> None:
        self._settle()
        self._tick()
        state = self.state
        loss, count = self.setup.control.sum(*self.window.take_loss())
        self.window.settle()
        assert self.setup.schedule is not None
        rate = float(self.setup.schedule.get_last_lr()[-1])
        values = {"loss": loss / (count or 1), "learning_rate": rate}
        if grad_norm is not None:
            values["grad_norm"] = float(grad_norm)
        values["samples_per_second"] = state.examples / state.seconds
        self.write("train", values)
        shown = {"loss": values["loss"], "lr": values["learning_rate"], "samples/s": values["samples_per_second"]}
        self.display.update(state.update, self.setup.total_updates, shown)
        self.trim()

    def _save(self) -> None:
        """Write a checkpoint, if there is anything to train; where the disk refuses it, the older ones stay."""
        if self.setup.optimizer is None:
            return
        self._settle(weights=True)
        self._tick()
        self.sync()
        if self.log is not None:
            self.state.logged = self.log.lines
        self.state.micro_batch_size = self.setup.updates.micro_batch_size
        try:
            self.checkpoints.save(
                self.state.update,
                lambda folder: write_checkpoint(folder, self.setup, self.state, self.window, self.facts),
            )
        except OSError as error:
            if self.job.options.checkpoints.save_failure == "stop":
                raise ValueError(
                    f"{self.checkpoints.directory}: checkpoint {self.state.update} could not be written "
                    f"({error.strerror or error}); the older ones stand (--save-failure continue trains on)"
                ) from None
            self.display.line(f"checkpoint {self.state.update} could not be written ({error}); the older ones stand")
        else:
            self.saved = self.state.update
        self._saved_at, now = time.monotonic(), time.perf_counter()
        self.state.saving += now - self._since
        self._since = now

    def score(self, model: nn.Module, split: str, encoded: Encoded) -> tuple[Metrics, dict[str, Any]]:
        """(metrics, joined predictions) of a split, while a person sees how far it is and may stop it."""
        shown = self.display.counter(f"scoring {split}", len(encoded))
        try:
            return self.setup.scorer.score(model, encoded, self.asked_to_stop, shown)
        finally:  # no time of training, even where somebody asks to stop in the midst of it
            self._since = time.perf_counter()

    def asked_to_stop(self) -> bool:
        """Whether any process was asked to stop; the same answer everywhere."""
        return self.setup.control.any(self.interruption.requested())

    def _settle(self, *, weights: bool = False) -> None:
        """All losses and gradients so far are known to be finite when this returns.

        Args:
            weights: these, too, as they are going to be saved: --clip-norm 0 leaves the norm of gradients unknown.
        """
        if weights:
            self.watch.add(self.state.update, weight_norm(self.setup.module))
        self.watch.settle()
        if self.setup.control.any(self.watch.bad_update is not None):
            self._not_finite()

    def _not_finite(self) -> None:
        number = self.watch.bad_update or self.state.update
        raise ValueError(
            f"loss or gradients are not finite at update {number} (epoch {self.epochs:.2f}); nothing was saved after "
            f"it. A lower --learning-rate, a longer --warmup or --precision fp32 may help"
        )

    def _tick(self) -> None:
        now = time.perf_counter()
        self.state.seconds += now - self._since
        self._since = now
