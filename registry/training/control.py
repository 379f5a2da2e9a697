"""What the processes agree on between updates, without touching the accelerator.

Counts, "please stop" and "my loss is not finite" travel as one small sum over a gloo group on the
hosts: the device's queue is never waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

PATIENCE = timedelta(days=7)
"""Rank 0 may tokenise for hours while the others wait."""


class Control:
    """Sums of a few numbers over all processes."""

    def __init__(self) -> None:
        self._group: Any = None
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            self._group = dist.new_group(backend="gloo", timeout=PATIENCE)

    def sum(self, *values: float) -> tuple[float, ...]:
        """The sums of the values over all processes, in float64."""
        if self._group is None:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self._group)
        return tuple(total.tolist())

    def any(self, flag: bool) -> bool:
        """Whether any process says so; the same answer everywhere."""
        return self.sum(float(flag))[0] > 0

    def wait(self) -> None:
        """A barrier that may take days."""
        self.sum(0.0)


@contextmanager
def partners() -> Iterator[None]:
    """Whatever the body waits for, a process that is gone ends the wait in one line instead of gloo's own.

    Raises:
        ValueError: another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if "by peer" not in str(error):  # gloo: "Connection closed by peer", "Connection reset by peer"
            raise
        raise ValueError(
            "another process of this run has ended, killed or by an error that it names itself; "
            "the same command goes on from the last checkpoint"
        ) from None
