"""What the training loop knows beside weights and optimizer: small, JSON-able, saved in every checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class LoopState:
    """Where the run stands.

    Args:
        update: updates done.
        best: value of the selecting metric at `best_update`.
        stale: evaluations since the best one, for patience.
        examples, tokens, seconds: trained so far, over all processes; evaluation and checkpoints
            are not in the seconds.
        saving: seconds spent on checkpoints.
        skipped: updates whose gradients overflowed (fp16).
        evaluated, averaged: update of the last evaluation, and of the last snapshot in the average.
        stopped_early: patience ran out.
        logged: lines of metrics.jsonl.
        micro_batch_size: of the next update, which --micro-batch-size auto may have halved; 0: as it starts.
    """

    update: int = 0
    best: float | None = None
    best_update: int = 0
    stale: int = 0
    examples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    saving: float = 0.0
    skipped: int = 0
    evaluated: int | None = None
    averaged: int = 0
    stopped_early: bool = False
    logged: int = 0
    micro_batch_size: int = 0

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> LoopState:
        """The state that `to_json` wrote."""
        return cls(**values)
