"""The alarm when a loss, the norm of gradients or a weight is not finite: no waiting for the device."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor


class FiniteWatch:
    """Looks at values of each update as soon as the device has computed them.

    On a CPU that is at once. On an accelerator the value is copied in the background, so that the
    update number in the message is exact although it is seen some updates later; `settle` waits.
    """

    def __init__(self) -> None:
        self._pending: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()
        self.bad_update: int | None = None

    def add(self, update: int, value: Tensor) -> None:
        """Watch a number of an update: its summed loss, the norm of its gradients."""
        event = None
        value = value.detach()
        if value.is_cuda:
            value = torch.empty((), dtype=value.dtype, pin_memory=True).copy_(value, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self._pending.append((update, value, event))
        self._look(wait=False)

    def settle(self) -> None:
        """Look at everything that was added, waiting for the device."""
        self._look(wait=True)

    def _look(self, *, wait: bool) -> None:
        while self._pending:
            update, value, event = self._pending[0]
            if event is not None and not event.query():
                if not wait:
                    return
                event.synchronize()
            if self.bad_update is None and not bool(torch.isfinite(value)):
                self.bad_update = update
            self._pending.popleft()
