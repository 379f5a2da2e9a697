"""Which weights are the best so far, by what metric, and when patience with worse ones ends."""

from __future__ import annotations

from dataclasses import dataclass

from registry.run_log import flat_values
from registry.tasks.base import Metrics
from registry.training.assembly import Job
from registry.training.state import LoopState


@dataclass(frozen=True)
class Selection:
    """The metric of validation that selects the best weights, and whether less of it is better."""

    metric: str
    minimize: bool

    @classmethod
    def of(cls, job: Job) -> Selection:
        """What --best-metric asks for, or else the task."""
        own, minimize = job.task.selecting(job.head)
        asked = job.options.evaluation.best_metric
        return cls(own, minimize) if asked in (None, own) else cls(asked, asked in job.task.less_is_better)

    def record(self, state: LoopState, metrics: Metrics, patience: int | None) -> bool:
        """True where these metrics are the best so far, which the state remembers; else it counts what patience counts.

        Metrics before the first update are looked at, but never the best.

        Raises:
            ValueError: there is no such metric.
        """
        values = dict(flat_values(metrics))
        if self.metric not in values:
            raise ValueError(f"--best-metric {self.metric}: validation has {', '.join(sorted(values))}")
        if not state.update:
            return False
        value = values[self.metric]
        if value is not None and self._better(value, state.best):  # None: undefined on this split
            state.best, state.best_update, state.stale = float(value), state.update, 0
            return True
        state.stale += 1
        state.stopped_early = patience is not None and state.stale >= patience
        return False

    def _better(self, value: float, best: float | None) -> bool:
        """Strictly better; NaN never is."""
        if value != value:
            return False
        return best is None or (value < best if self.minimize else value > best)
