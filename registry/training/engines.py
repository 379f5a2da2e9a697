"""The engine: what accelerate makes of model and optimizer on one process or many.

What differs between one device, DDP, DeepSpeed ZeRO and FSDP and is not accelerate's: accumulation, the exchange of
gradients, gathering weights, the order of processes and their end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from registry.training.embedding_rows import whole_rows
from registry.training.fsdp import choose_layers, one_group_for_embeddings

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn
    from torch.optim import Optimizer


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
    with one_group_for_embeddings(accelerator, module):
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
    unprepared = kind == "DEEPSPEED" and accelerator.deepspeed_engine_wrapped is None  # there is nothing to train
    if kind not in ("DEEPSPEED", "FSDP") or unprepared:  # accelerate would import DeepSpeed to find that out
        bare = model.module if isinstance(model, torch.nn.parallel.DistributedDataParallel) else model
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
    """How many numbers a parameter stands for: a process may hold a piece of it (ZeRO-3), or two in a byte (nf4)."""
    quantised = getattr(parameter, "quant_state", None)
    if quantised is not None:
        return int(quantised.shape.numel())
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether the engine cuts parameters into pieces before the optimizer sees them."""
    return accelerator.distributed_type in ("DEEPSPEED", "FSDP")


def zero_stage(accelerator: Accelerator) -> int:
    """DeepSpeed's stage; 0 under any other engine."""
    return accelerator.deepspeed_plugin.zero_stage if accelerator.deepspeed_plugin is not None else 0


def offloads(accelerator: Accelerator) -> bool:
    """Whether DeepSpeed keeps the optimizer's state elsewhere than on the device."""
    plugin = accelerator.deepspeed_plugin
    return plugin is not None and plugin.offload_optimizer_device not in (None, "none")


def autocast_alone(accelerator: Accelerator) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """The arithmetic of training for a module that the engine has not prepared: DeepSpeed casts in its engine alone."""
    if accelerator.deepspeed_plugin is None or accelerator.mixed_precision == "no":
        return accelerator.autocast
    dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float16
    return partial(torch.autocast, accelerator.device.type, dtype=dtype)


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


def free_engine(accelerator: Accelerator) -> None:
    """Let go of everything that was prepared, and of its memory where nobody else holds it."""
    from accelerate.utils import release_memory

    accelerator.free_memory()  # ends DeepSpeed's engine; it collects before it lets go
    release_memory()


def finish(accelerator: Accelerator) -> None:
    """Leave together and in order: ZeRO-3 may abort at interpreter exit while its hooks still hold tensors."""
    accelerator.wait_for_everyone()
    free_engine(accelerator)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
