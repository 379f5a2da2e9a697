"""Learning-rate schedules: after a linear warm-up, a multiplier of the peak rate for every update.

Every schedule is a function of progress alone, so that a continued run needs only the number of the
update. Rates of parameter groups (layer-wise decay, the head's own) keep their proportions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

Decay = Callable[[float], float]
"""Share of the updates after warm-up that are done (0 to 1) -> multiplier (1 to 0)."""

STABLE_SHARE = 0.8
"""Share of the updates after warm-up that warm-up-stable-decay spends at the peak (Hu et al. 2024)."""

ONE_CYCLE_WARMUP = 0.3
"""Rising share of a one-cycle run where no warm-up is given (Smith & Topin 2017)."""

ONE_CYCLE_START = 0.04
"""Where a one-cycle run starts, as a share of the peak."""

DECAYS: dict[str, Decay] = {
    "linear": lambda done: 1 - done,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
    "polynomial": lambda done: (1 - done) ** 2,
    "one-cycle": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "wsd": lambda done: 1.0 if done <= STABLE_SHARE else (1 - done) / (1 - STABLE_SHARE),
}


def warmup_updates(warmup: float, total_updates: int) -> int:
    """Updates of warm-up: `warmup` itself, or below 1 that share of all updates (rounded up)."""
    return math.ceil(round(warmup * total_updates, 6)) if warmup < 1 else round(warmup)


def multiplier(name: str, update: int, *, warmup_updates: int, total_updates: int) -> float:
    """The share of the peak rate that update `update` (from 0) is made with.

    Warm-up rises linearly and reaches the peak at update `warmup_updates`; its first update is not
    wasted on a rate of 0. One-cycle rises along a cosine instead, from 4 % of the peak, over 30 % of
    the updates unless another warm-up is given.
    """
    if name == "one-cycle":
        warmup_updates = warmup_updates or math.ceil(ONE_CYCLE_WARMUP * total_updates)
    if update < warmup_updates:
        if name == "one-cycle":
            rise = 0.5 * (1 - math.cos(math.pi * update / warmup_updates))
            return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * rise
        return (update + 1) / (warmup_updates + 1)
    if name == "inverse-sqrt":
        return math.sqrt(max(warmup_updates, 1) / max(update, warmup_updates, 1))
    done = (update - warmup_updates) / max(total_updates - warmup_updates, 1)
    return DECAYS[name](min(done, 1.0))


def build_schedule(name: str, optimizer: Optimizer, *, warmup_updates: int, total_updates: int) -> LambdaLR:
    """The schedule (`options.SCHEDULES`) on the optimizer's groups; step it once after every update that was made."""
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(
        optimizer, lambda update: multiplier(name, update, warmup_updates=warmup_updates, total_updates=total_updates)
    )
