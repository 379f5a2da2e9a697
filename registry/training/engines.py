"""The engine: what accelerate makes of model and optimizer on one process or many.

Everything that differs between one device, DDP, DeepSpeed ZeRO and FSDP and is not accelerate's is in
this file: how the processes find each other, settings that two places give, accumulation, gathering weights.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch

from registry.training.build_locks import clear_abandoned_locks
from registry.training.embedding_rows import whole_rows
from registry.training.fsdp import choose_layers
from registry.training.launch import Launch, check_active, check_possible, read_launch
from registry.training.precision import Precision, apply_precision, choose_precision
from registry.training.processor import suit_threads

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from registry.options import Optimization

WAIT = timedelta(days=1)
"""Processes wait this long for the first one, which tokenises alone."""


def build_accelerator(options: Optimization) -> tuple[Accelerator, Precision]:
    """The engine that the launch configuration asks for, and the precision that it trains in.

    Raises:
        ValueError: the launch configuration contradicts the options or cannot be had on this machine, or
            accelerate started something else.
    """
    launch = read_launch(os.environ)
    check_possible(launch, gpus=torch.accelerator.device_count())
    check_settings(launch, options)
    device = torch.device("cpu") if launch.wants_cpu else _best_device()
    precision = choose_precision(options.precision, launch.mixed_precision, device)
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
        configure_deepspeed(accelerator.deepspeed_plugin, options, accelerator.num_processes)
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


def prepare_model(
    accelerator: Accelerator, module: nn.Module, optimizer: Optimizer | None, *, exchanges: bool = True
) -> tuple[nn.Module, Optimizer | None]:
    """Model and optimizer as the engine runs them; a model that is not trained only moves to the device.

    Args:
        exchanges: DDP exchanges gradients during backward; otherwise `average_gradients` does, when it is called.
    """
    if optimizer is None:
        return module.to(accelerator.device), None
    if not exchanges and not is_sharded(accelerator):
        return accelerator.prepare_model(module, evaluation_mode=True), accelerator.prepare_optimizer(optimizer)
    choose_layers(accelerator, module)
    model, prepared = accelerator.prepare(module, optimizer)
    return model, prepared


@contextlib.contextmanager
def micro_step(accelerator: Accelerator, model: nn.Module, *, last: bool) -> Iterator[None]:
    """One forward and backward of an update: gradients are exchanged, and the optimizer steps, in the last one alone.

    Updates differ in their number of micro-batches, which `Accelerator.accumulate` cannot know.
    """
    accelerator.gradient_state._set_sync_gradients(last)
    with contextlib.nullcontext() if last else accelerator.no_sync(model):
        yield


def average_gradients(accelerator: Accelerator, module: nn.Module) -> None:
    """Exchange the gradients of a model that was prepared without `exchanges`: their mean over the processes."""
    if accelerator.num_processes == 1:
        return
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    for work in [torch.distributed.all_reduce(gradient, async_op=True) for gradient in gradients]:
        work.wait()
    torch._foreach_div_(gradients, accelerator.num_processes)


def gathered_state(accelerator: Accelerator, model: nn.Module) -> dict[str, Tensor]:
    """Whole weights by name on the first process (call it on all): ZeRO-3 and FSDP put their pieces together."""
    kind = str(accelerator.distributed_type.value)
    if kind not in ("DEEPSPEED", "FSDP"):  # accelerate would import DeepSpeed to find that out
        bare = getattr(model, "module", model)
        return whole_rows(bare, dict(bare.state_dict())) if accelerator.is_main_process else {}
    state: dict[str, Tensor] = accelerator.get_state_dict(model) or {}
    first: dict[int, str] = {}  # ZeRO-1 and 2 are copied name by name: what is tied must stay one tensor
    for name, tensor in accelerator.unwrap_model(model).state_dict(keep_vars=True).items():
        tied_to = first.setdefault(id(tensor), name)
        if name in state and tied_to in state:
            state[name] = state[tied_to]
    return state


def describe_engine(accelerator: Accelerator) -> str:
    """What really runs: "DDP, 2 processes, cpu (gloo)", "DeepSpeed ZeRO-2, 8 processes, cuda (nccl)"."""
    kind = str(accelerator.distributed_type.value)
    name = {"NO": "", "DEEPSPEED": "DeepSpeed", "FSDP": "FSDP"}.get(kind, "DDP")
    plugin = accelerator.deepspeed_plugin
    if plugin is not None:
        offloads = {plugin.offload_optimizer_device, plugin.offload_param_device} - {"none", None}
        name += f" ZeRO-{plugin.zero_stage}" + (f", offload to {'/'.join(sorted(offloads))}" if offloads else "")
    world = accelerator.num_processes
    processes = f"{world} process{'es' if world > 1 else ''}"
    backend = f" ({torch.distributed.get_backend()})" if torch.distributed.is_initialized() else ""
    return ", ".join(filter(None, (name, processes, f"{accelerator.device.type}{backend}")))


def numbers(parameter: nn.Parameter) -> int:
    """How many numbers a whole parameter has, of which a process may hold a piece (ZeRO-3)."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether the engine cuts parameters into pieces before the optimizer sees them."""
    return accelerator.distributed_type in ("DEEPSPEED", "FSDP")


def zero_stage(accelerator: Accelerator) -> int:
    """DeepSpeed's stage; 0 under any other engine."""
    return accelerator.deepspeed_plugin.zero_stage if accelerator.deepspeed_plugin is not None else 0


def gradient_split(accelerator: Accelerator) -> int:
    """Over how many processes gradients are split once they are exchanged."""
    return accelerator.num_processes if zero_stage(accelerator) >= 2 or accelerator.distributed_type == "FSDP" else 1


def check_quantized(accelerator: Accelerator, kind: str | None) -> None:
    """ValueError where the engine would cut weights of 8 or 4 bits into pieces."""
    if kind is not None and (zero_stage(accelerator) == 3 or accelerator.distributed_type == "FSDP"):
        raise ValueError(f"--quantize {kind} does not work with ZeRO-3 or FSDP, which cut weights; use ZeRO-2 or DDP")


@contextlib.contextmanager
def first_process_first(accelerator: Accelerator) -> Iterator[None]:
    """The first process runs the body before the others do; where it fails, they stop with it instead of waiting.

    Raises:
        ValueError: on every process, where the first one raised it.
    """
    if accelerator.num_processes == 1:
        yield
        return
    problem: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            yield
        except ValueError as error:
            problem = [str(error)]
            raise
        finally:
            torch.distributed.broadcast_object_list(problem)
    else:
        torch.distributed.broadcast_object_list(problem)
        if problem[0] is not None:
            raise ValueError(problem[0])
        yield


def finish(accelerator: Accelerator, model: nn.Module) -> None:
    """Leave together and in order: ZeRO-3 may abort at interpreter exit while its hooks still hold tensors."""
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    destroy = getattr(model, "destroy", None)
    if destroy is not None:
        destroy()
    gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def configure_deepspeed(plugin: Any, options: Optimization, world_size: int) -> None:
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
