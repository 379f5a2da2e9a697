"""What happens between updates: logging, evaluation, the best weights, patience, the end."""

from __future__ import annotations

import time
from typing import Any, Protocol

from torch import Tensor

from registry.run_directory import RunDirectory, save_model
from registry.run_log import RunLog, flat_numbers
from registry.tasks.base import Metrics
from registry.training.assembly import Job
from registry.training.batches import Update
from registry.training.engines import gathered_state
from registry.training.evaluation import better, gather
from registry.training.losses import LossWatch
from registry.training.setup import Setup
from registry.training.state import LoopState
from registry.training.window import TrainWindow


class Display(Protocol):
    """Where progress is shown to a person."""

    def update(self, done: int, total: int, values: dict[str, float]) -> None:
        """The bar and the values beside it."""

    def evaluation(self, split: str, update: int, metrics: Metrics, best: bool) -> None:
        """One line for an evaluation."""


class Progress:
    """The run between its updates. All processes call the same methods; the first one writes."""

    def __init__(self, job: Job, setup: Setup, directory: RunDirectory, state: LoopState, display: Display) -> None:
        self.job, self.setup, self.directory, self.state, self.display = job, setup, directory, state, display
        self.main = setup.accelerator.is_main_process
        self.log = RunLog(directory.path, state.update) if self.main else None
        self.window = TrainWindow(job.task, job.head, setup.accelerator.device)
        self.watch = LossWatch()
        self.metric, self.minimize = selecting_metric(job)
        self.latest: dict[str, Metrics] = {}
        self._since = time.perf_counter()

    @property
    def ended(self) -> bool:
        """Whether no further update is wanted although there are some left."""
        return self.state.stopped_early

    def before_first_update(self) -> None:
        """Score the untrained model, so that the report can show what fine-tuning gained."""
        if self.state.update == 0 and self.state.evaluated is None and self.job.splits("validation"):
            self._evaluate()
        self._since = time.perf_counter()

    def agree(self, count: float) -> tuple[float, bool]:
        """(scored items of the update over all processes, whether to stop before it).

        Raises:
            ValueError: the loss of an earlier update is not finite.
        """
        total, bad = self.setup.control.sum(count, float(self.watch.bad_update is not None))
        if bad:
            self._not_finite()
        return total, False

    def after_update(self, update: Update, count: float, grad_norm: Tensor | None, *, skipped: bool) -> None:
        """Count the update; log, evaluate and save what is due."""
        state = self.state
        state.update, state.examples, state.tokens = (
            update.number + 1,
            state.examples + update.examples,
            state.tokens + update.tokens,
        )
        state.skipped += skipped
        self.watch.add(state.update, self.window.loss)
        last = state.update == self.setup.total_updates
        if state.update % self.job.options.logging.log_every == 0 or last:
            self._log_training(grad_norm)
        if self._evaluation_due() or last:
            self._settle()
            self._tick()
            self._evaluate()
            self._since = time.perf_counter()

    def _evaluation_due(self) -> bool:
        every = self.job.options.evaluation.evaluate_every or self.setup.updates_per_epoch
        return self.state.update % every == 0

    def _log_training(self, grad_norm: Tensor | None) -> None:
        self._settle()
        self._tick()
        state = self.state
        loss, count = self.setup.control.sum(*self.window.take_loss())
        values = {"loss": loss / (count or 1), "learning_rate": self.setup.schedule.get_last_lr()[-1]}
        if grad_norm is not None:
            values["grad_norm"] = float(grad_norm)
        values["samples_per_second"] = state.examples / state.seconds
        if self.log is not None:
            self.log.write(state.update, self.epochs, "train", values)
        shown = {"loss": values["loss"], "lr": values["learning_rate"], "samples/s": values["samples_per_second"]}
        self.display.update(state.update, self.setup.total_updates, shown)

    def _evaluate(self) -> None:
        state = self.state
        trained = self.window.metrics(gather(self.setup.accelerator, self.window.take_reduced()))
        if self.log is not None and trained:
            self.log.write(state.update, self.epochs, "train", {k: v for k, v in trained.items() if k != "loss"})
        for split in self.job.splits("validation"):
            metrics, _ = self.setup.scorer.score(self.setup.model, self.job.encoded[split])
            is_best = split == "validation" and state.update > 0 and self._select(metrics)
            self.latest[split] = metrics
            if self.log is not None:
                self.log.write(state.update, self.epochs, split, metrics)
            self.display.evaluation(split, state.update, metrics, is_best)
            if is_best:
                self._save_best()
        state.evaluated = state.update

    def _select(self, metrics: Metrics) -> bool:
        """Remember the value if it is the best so far, and count what patience counts."""
        state, value = self.state, dict(flat_numbers(metrics)).get(self.metric, float("nan"))
        if better(value, state.best, self.minimize):
            state.best, state.best_update, state.stale = value, state.update, 0
            return True
        state.stale += 1
        patience = self.job.options.evaluation.patience
        state.stopped_early = patience is not None and state.stale >= patience
        return False

    def _save_best(self) -> None:
        weights = gathered_state(self.setup.accelerator, self.setup.model)
        if self.main:
            save_model(self.directory, self.job.spec, self.setup.module, weights, self.job.tokenizer)

    def _settle(self) -> None:
        """All losses so far are known to be finite when this returns."""
        self.watch.settle()
        if self.setup.control.any(self.watch.bad_update is not None):
            self._not_finite()

    def _not_finite(self) -> None:
        number = self.watch.bad_update or self.state.update
        raise ValueError(
            f"the loss is not finite at update {number} (epoch {self.epochs:.2f}); nothing was saved after it. "
            f"A lower --learning-rate, a longer --warmup or --precision fp32 may help"
        )

    def _tick(self) -> None:
        now = time.perf_counter()
        self.state.seconds += now - self._since
        self._since = now

    @property
    def epochs(self) -> float:
        """Passes over the training rows so far."""
        return self.state.update / max(self.setup.updates_per_epoch, 1)


def selecting_metric(job: Job) -> tuple[str, bool]:
    """(name, whether less is better) of the metric that selects the best weights."""
    asked = job.options.evaluation.best_metric
    if asked is None:
        return job.task.primary_metric, job.task.minimize
    return asked, asked in ("loss", "perplexity")


def open_progress(job: Job, setup: Setup, display: Any) -> Progress:
    """Choose or find the run directory, write its record, and start or continue its progress."""
    from registry.training.results import open_directory

    directory, state = open_directory(job, setup)
    return Progress(job, setup, directory, state, display)
