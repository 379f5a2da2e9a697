"""The start of the engine: which one the launch configuration asks for, and settings that two places give."""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch

from registry.training.build_locks import clear_abandoned_locks
from registry.training.launch import Launch, check_active, check_possible, read_launch
from registry.training.precision import Precision, apply_precision, choose_precision
from registry.training.processor import suit_threads

if TYPE_CHECKING:
    from accelerate import Accelerator

    from registry.options import Optimization

WAIT = timedelta(days=1)
"""Processes wait this long for the first one, which tokenises alone."""


def build_accelerator(options: Optimization, precision_origin: str = "option") -> tuple[Accelerator, Precision]:
    """The engine that the launch configuration asks for, and the precision that it trains in.

    Args:
        precision_origin: whose value `options.precision` is.

    Raises:
        ValueError: the launch configuration contradicts the options or cannot be had on this machine, or
            accelerate started something else.
    """
    launch = read_launch(os.environ)
    check_possible(launch, gpus=torch.accelerator.device_count())
    check_settings(launch, options)
    device = torch.device("cpu") if launch.wants_cpu else _best_device()
    precision = choose_precision(options.precision, launch.mixed_precision, device, precision_origin)
    apply_precision(precision)
    accelerator = _start(launch, precision, on_cpu=device.type == "cpu")
    check_active(
        launch,
        distributed_type=str(accelerator.distributed_type.value),
        world_size=accelerator.num_processes,
        device=accelerator.device.type,
    )
    if accelerator.device.type == "cpu":
        suit_threads()
    if accelerator.deepspeed_plugin is not None:
        configure_deepspeed(accelerator.deepspeed_plugin, options, accelerator.num_processes, precision)
    return accelerator, precision


def check_settings(launch: Launch, options: Optimization) -> None:
    """ValueError where the launch configuration and the options say different things; names both."""
    accumulation = accumulation_steps(options, launch.world_size)
    if launch.accumulation is not None and launch.accumulation != accumulation:
        raise ValueError(
            f"gradient_accumulation_steps: {launch.accumulation:g} of the launch configuration contradicts "
            f"--batch-size {options.batch_size} and --micro-batch-size, from which {accumulation} follow; leave it out"
        )
    if launch.clipping is not None and launch.clipping != options.clip_norm:
        raise ValueError(
            f"gradient_clipping: {launch.clipping:g} of the launch configuration contradicts "
            f"--clip-norm {options.clip_norm:g}; leave it out there"
        )


def micro_batch_size(options: Optimization, world_size: int) -> int:
    """Examples a process and forward pass: what was asked for, at most (and with "auto" at first) its share."""
    share = -(-options.batch_size // world_size)
    asked = options.micro_batch_size
    return min(asked, share) if isinstance(asked, int) else share


def accumulation_steps(options: Optimization, world_size: int) -> int:
    """Forward passes of a process in a full update."""
    return -(-options.batch_size // (micro_batch_size(options, world_size) * world_size))


def configure_deepspeed(plugin: Any, options: Optimization, world_size: int, precision: Precision) -> None:
    """Give DeepSpeed what it must know before `prepare`, and check what its configuration already says.

    Accumulation stays 1 there: every micro-step says itself whether it is the last.

    Raises:
        ValueError: the configuration says something else than the options.
    """
    size = micro_batch_size(options, world_size)
    config = plugin.deepspeed_config
    for key, flag, value in (
        ("train_micro_batch_size_per_gpu", "--micro-batch-size", size),
        ("train_batch_size", "--batch-size", options.batch_size),
        ("gradient_clipping", "--clip-norm", options.clip_norm),
        ("gradient_accumulation_steps", "--batch-size and --micro-batch-size", accumulation_steps(options, world_size)),
    ):
        said = config.get(key, "auto")
        if said not in ("auto", value) and (key, said) != ("gradient_accumulation_steps", 1):
            raise ValueError(f"{key}: {said} of the DeepSpeed configuration contradicts {flag}, which gives {value}")
    for kind in ("fp16", "bf16"):
        said, value = config.get(kind, {}).get("enabled", "auto"), precision.mixed == kind
        if said not in ("auto", value):
            raise ValueError(
                f"{kind}.enabled: {said} of the DeepSpeed configuration contradicts {precision.name}, "
                f"the precision of this run ({precision.why}); change it there, or --precision"
            )
    config |= {
        "train_micro_batch_size_per_gpu": size,
        "train_batch_size": size * world_size,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": options.clip_norm,
    }


def _start(launch: Launch, precision: Precision, *, on_cpu: bool) -> Accelerator:
    deepspeed = launch.engine == "deepspeed"
    if on_cpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    if deepspeed:
        _require_deepspeed()
        clear_abandoned_locks()
    _quieten_deepspeed()
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin, InitProcessGroupKwargs

    # Accumulation is counted by `micro_step`; a number that the launcher passes on must not reach accelerate.
    os.environ.pop("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", None)
    handlers: list[Any] = [DistributedDataParallelKwargs(gradient_as_bucket_view=True)]
    if launch.world_size > 1 or deepspeed:
        handlers.append(InitProcessGroupKwargs(backend="gloo" if on_cpu else None, timeout=WAIT))
    return Accelerator(
        mixed_precision=precision.mixed,
        cpu=on_cpu and not deepspeed,  # with DeepSpeed, `cpu` would silently mean DDP
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        step_scheduler_with_optimizer=False,
        kwargs_handlers=handlers,
    )


def _best_device() -> torch.device:
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def _quieten_deepspeed() -> None:
    """Leave its warnings, but not its diary nor torch's notes on names that it still uses."""
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=r"`torch\.distributed\..*` is deprecated", category=FutureWarning)


def _require_deepspeed() -> None:
    if importlib.util.find_spec("deepspeed") is None:
        raise ValueError("the launch configuration asks for DeepSpeed, which is not installed: pip install deepspeed")
