"""Optimizers by name, over groups that carry their own rate and decay."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.optim import Optimizer

Groups = Sequence[dict[str, Any]]

BETAS = (0.9, 0.999)
EPSILON = 1e-8
LION_BETAS = (0.9, 0.99)
MOMENTUM = 0.9


def build_optimizer(
    name: str, groups: Groups, *, sharded: bool = False, fsdp: bool = False, offloaded: bool = False
) -> Optimizer:
    """The optimizer over `groups` (`build_param_groups`).

    Args:
        sharded: whether the engine cuts parameters into pieces (DeepSpeed ZeRO, FSDP): optimizers that
            look at whole matrices or layers cannot work on them.
        fsdp: whether these pieces are DTensors, which bitsandbytes does not take.
        offloaded: whether DeepSpeed keeps the state on the host, where it puts an AdamW of its own in place of ours.

    Raises:
        ValueError: bitsandbytes is missing, or an optimizer that the engine's pieces do not suit.
    """
    if sharded and name in WHOLE:
        raise ValueError(
            f"--optimizer {name} needs whole parameters, but ZeRO and FSDP cut them into pieces; use adamw"
        )
    if fsdp and name in EIGHT_BIT:
        raise ValueError(f"--optimizer {name} cannot work on the pieces that FSDP makes of parameters; use adamw")
    if offloaded and name != "adamw":
        raise ValueError(f"--optimizer {name}: where the optimizer is offloaded DeepSpeed has adamw alone; use that")
    if name in EIGHT_BIT and importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError(f"--optimizer {name} needs bitsandbytes: pip install bitsandbytes")
    return BUILDERS[name](groups)


def page_again(optimizer: Optimizer) -> None:
    """Put state that was loaded back where a paged optimizer keeps it: bitsandbytes loads it as plain tensors."""
    bare: Any = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
    if not getattr(bare, "is_paged", False):
        return
    for parameter, state in bare.state.items():
        for name in ("state1", "state2"):
            if name in state:
                state[name] = bare.get_state_buffer(parameter, dtype=state[name].dtype).copy_(state[name])


def _adamw(groups: Groups) -> Optimizer:
    devices = {p.device.type for group in groups for p in group["params"]}
    fused = devices <= {"cpu", "cuda", "mps", "xpu"}  # one kernel a group, five times faster than foreach on a CPU
    optimizer: Any = torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON, fused=fused)
    # The kernel could skip an overflowed fp16 update by itself, on the device, and nobody would hear of it. As for any
    # other optimizer GradScaler shall not call `step` then: that is how accelerate and the schedule know.
    optimizer._step_supports_amp_scaling = False
    return optimizer  # type: ignore[no-any-return]


def _adamw8bit(groups: Groups) -> Optimizer:
    from bitsandbytes.optim.adamw import AdamW8bit

    return AdamW8bit(groups, betas=BETAS, eps=EPSILON)


def _paged_adamw8bit(groups: Groups) -> Optimizer:
    from bitsandbytes.optim.adamw import PagedAdamW8bit

    return PagedAdamW8bit(groups, betas=BETAS, eps=EPSILON)


def _lion8bit(groups: Groups) -> Optimizer:
    from bitsandbytes.optim.lion import Lion8bit

    return Lion8bit(groups, betas=LION_BETAS)


def _adafactor(groups: Groups) -> Optimizer:
    return torch.optim.Adafactor(groups)


def _sgd(groups: Groups) -> Optimizer:
    return torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True)


def _lamb(groups: Groups) -> Optimizer:
    from registry.training.lamb import Lamb

    return Lamb(groups, betas=BETAS, eps=1e-6)


BUILDERS: dict[str, Callable[[Groups], Optimizer]] = {
    "adamw": _adamw,
    "adamw8bit": _adamw8bit,
    "paged_adamw8bit": _paged_adamw8bit,
    "lion8bit": _lion8bit,
    "adafactor": _adafactor,
    "sgd": _sgd,
    "lamb": _lamb,
}
EIGHT_BIT = ("adamw8bit", "paged_adamw8bit", "lion8bit")
WHOLE = ("adafactor", "lamb")
"""Adafactor factorises over rows and columns, LAMB scales by a parameter's norm."""
