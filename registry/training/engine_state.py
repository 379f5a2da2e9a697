"""Weights, optimizer, schedule and loss scaler in a checkpoint, for every engine.

One process and DDP: safetensors and JSON, written by the first process; FSDP: the same of the pieces that a
process holds, written by each. DeepSpeed: its own shards, one set a process; they are read with `weights_only`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from registry.training.fsdp import as_cut, cut_again, piece, pieces_suffix
from registry.training.optimizers import page_again

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from registry.training.setup import Setup

SHARDS = "deepspeed"


def save_engine_state(folder: Path, setup: Setup) -> None:
    """Write everything that the next update depends on but random generators and the loop's own state."""
    assert setup.optimizer is not None
    assert setup.schedule is not None
    engine: Any = setup.model
    suffix = pieces_suffix(setup.accelerator)
    writes = setup.accelerator.is_main_process or bool(suffix)
    if setup.accelerator.deepspeed_plugin is not None:
        with failing_late(engine.checkpoint_engine):
            engine.save_checkpoint(str(folder), tag=SHARDS, save_latest=False)
    elif writes:
        save_file(_contiguous(trained_tensors(setup.module)), folder / f"weights{suffix}.safetensors")
        _save_optimizer(folder, suffix, setup.optimizer.state_dict())
    if setup.average is not None and writes:
        save_file(_contiguous(setup.average.state_dict()), folder / f"average{suffix}.safetensors")
    if setup.accelerator.is_main_process:
        scaler = setup.accelerator.scaler
        rest = {"schedule": setup.schedule.state_dict(), "scaler": scaler.state_dict() if scaler is not None else None}
        (folder / "schedule.json").write_text(json.dumps(rest), encoding="utf-8")


def load_engine_state(folder: Path, setup: Setup) -> None:
    """Put the state that `save_engine_state` wrote back, in place."""
    assert setup.optimizer is not None
    assert setup.schedule is not None
    engine: Any = setup.model
    suffix = pieces_suffix(setup.accelerator)
    if setup.accelerator.deepspeed_plugin is not None:
        whole = setup.accelerator.deepspeed_plugin.zero_stage < 3
        with only_weights():
            engine.load_checkpoint(str(folder), tag=SHARDS, custom_load_fn=load_trained if whole else None)
        # Offloading trains with an optimizer of DeepSpeed's, whose groups are new ones since: the schedule turns these.
        setup.schedule.optimizer.param_groups = engine.basic_optimizer.param_groups
        page_again(engine.basic_optimizer)
    else:
        saved = load_file(folder / f"weights{suffix}.safetensors")
        for name, tensor in trained_tensors(setup.module).items():
            piece(tensor).copy_(saved[name])
        setup.optimizer.load_state_dict(_load_optimizer(folder, suffix, setup.optimizer))
        page_again(setup.optimizer)
    if setup.average is not None:
        setup.average.load_state_dict(load_file(folder / f"average{suffix}.safetensors"))
    rest = json.loads((folder / "schedule.json").read_text(encoding="utf-8"))
    setup.schedule.load_state_dict(rest["schedule"])
    if setup.accelerator.scaler is not None and rest["scaler"] is not None:
        setup.accelerator.scaler.load_state_dict(rest["scaler"])


def trained_tensors(module: nn.Module) -> dict[str, Tensor]:
    """What training changes: parameters with gradients (tied ones once) and buffers that are saved.

    Frozen weights come from the same source again.
    """
    cut_again(module)
    kept = {name: p.data for name, p in module.named_parameters() if p.requires_grad}
    persistent = module.state_dict(keep_vars=True)
    return kept | {name: b for name, b in module.named_buffers() if name in persistent}


def load_trained(src: Mapping[str, Tensor], dst: nn.Module) -> None:
    """What training changes, of a whole state: layers of 8 or 4 bits save more than they load (DeepSpeed's names)."""
    for name, tensor in trained_tensors(dst).items():
        tensor.copy_(src[name])


def weight_norm(module: nn.Module) -> Tensor:
    """The norm of the trained weights that this process holds; not finite where one of them is not."""
    cut_again(module)
    return nn.utils.get_total_norm([piece(p) for p in module.parameters() if p.requires_grad])


@contextmanager
def failing_late(writer: Any) -> Iterator[None]:
    """A shard that DeepSpeed cannot write is an error only at the end: the other processes wait for this one meanwhile.

    Raises:
        OSError: the disk refused a shard.
    """
    problems: list[str] = []
    original = writer.save

    def save(*args: Any, **kwargs: Any) -> None:
        try:
            original(*args, **kwargs)
        except (OSError, RuntimeError) as error:  # torch.save says RuntimeError where the disk is full
            problems.append(str(error).splitlines()[0])

    writer.save = save
    try:
        yield
    finally:
        del writer.save
    if problems:
        raise OSError(problems[0])


@contextmanager
def only_weights() -> Iterator[None]:
    """`torch.load` refuses anything but tensors and plain values (and DeepSpeed's few own classes)."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        with torch.serialization.safe_globals([ZeroStageEnum, LossScaler, DynamicLossScaler, fragment_address]):
            yield
    finally:
        if before is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


def _save_optimizer(folder: Path, suffix: str, state: Mapping[str, Any]) -> None:
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for name, value in _flat(values):
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                plain.setdefault(str(index), {})[name] = value
    save_file(_contiguous(tensors), folder / f"optimizer{suffix}.safetensors")
    rest = {"state": plain, "param_groups": state["param_groups"]}
    (folder / f"optimizer{suffix}.json").write_text(json.dumps(rest), encoding="utf-8")


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The state of a parameter; what is quantised bitsandbytes wraps in a dictionary, and loads without it too."""
    for name, value in values.items():
        yield from value.items() if isinstance(value, Mapping) else [(name, value)]


def _load_optimizer(folder: Path, suffix: str, optimizer: Optimizer) -> dict[str, Any]:
    """The saved state; tuples, which JSON knows as lists, are tuples again where the optimizer has them."""
    rest = json.loads((folder / f"optimizer{suffix}.json").read_text(encoding="utf-8"))
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in rest["state"].items()}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for key, tensor in load_file(folder / f"optimizer{suffix}.safetensors").items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = as_cut(tensor, parameters[int(index)])
    for saved, now in zip(rest["param_groups"], optimizer.state_dict()["param_groups"], strict=True):
        for name, value in now.items():
            if isinstance(value, tuple):
                saved[name] = tuple(saved[name])
    return {"state": state, "param_groups": rest["param_groups"]}


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The pieces on the host, each in memory of its own: 8-bit optimizers share a table between parameters."""
    found: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        held = piece(tensor).contiguous().cpu()
        found[name] = held.clone() if held.data_ptr() in taken else held
        taken.add(held.data_ptr())
    return found
