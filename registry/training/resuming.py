"""Going on where a killed run stood: what a checkpoint holds, and which options may differ."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from registry.options import default_of, fields
from registry.training.engine_state import load_engine_state, save_engine_state
from registry.training.random_state import load_random_state, save_random_state
from registry.training.state import LoopState
from registry.training.window import TrainWindow

if TYPE_CHECKING:
    from registry.training.setup import Setup

WITHOUT_END = ("constant", "inverse-sqrt")
"""Schedules that do not depend on the number of updates (nor does warm-up in updates), so that a run may be longer."""

COPIED = {"data_dir", "train_file", "validation_file", "test_file"}
"""Options that say where rows lie; what these are is compared by content."""

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers by their bytes."""


def write_checkpoint(
    folder: Path, setup: Setup, state: LoopState, window: TrainWindow, facts: Mapping[str, Any]
) -> None:
    """This process's part of a checkpoint; `facts` are what a continued run must have in common."""
    rank = setup.accelerator.process_index
    save_engine_state(folder, setup)
    save_random_state(folder, rank, setup.accelerator.device)
    save_file(window.tensors(), folder / f"window-{rank}.safetensors")
    if setup.accelerator.is_main_process:
        values = {"state": state.to_json(), "facts": dict(facts)}
        (folder / "loop.json").write_text(json.dumps(values, indent=1), encoding="utf-8")


def read_state(folder: Path, facts: Mapping[str, Any]) -> LoopState:
    """Where the run stood.

    Raises:
        ValueError: the run was started under other `facts` (world size, engine, precision, data).
    """
    values = json.loads((folder / "loop.json").read_text(encoding="utf-8"))
    known = {_subject(name): value for name, value in values["facts"].items()}
    for name, now in facts.items():
        before = known.get(_subject(name))
        if before != now:
            raise ValueError(
                f"{folder.parent.parent}: this run was started with {name} {_short(before)}, now it is {_short(now)}, "
                "which would make another training; continue it as it was started, or start anew "
                "(--overwrite, or another --output-dir)"
            )
    return LoopState.from_json(values["state"])


def check_agreement(facts: Sequence[Mapping[str, Any]]) -> None:
    """ValueError where a process has found other facts than the first one: other rows, labels or weights."""
    for rank, other in enumerate(facts):
        for name, value in facts[0].items():
            if other[name] != value:
                raise ValueError(
                    f"process {rank} has other {name} than process 0; all must read the same files, and a task must "
                    "give the same rows and labels each time"
                )


def _subject(fact: str) -> str:
    """What a fact is about without the place where it was found: rows may have been copied elsewhere meanwhile."""
    return fact.partition(" rows of ")[0]


def frozen_weights(module: nn.Module) -> str:
    """A checksum of the weights that are not trained: no checkpoint holds them, they come from their source again.

    It is exact on every device; pieces that ZeRO-3 has elsewhere do not count.
    """
    total = 0
    for parameter in module.parameters():
        if not parameter.requires_grad:
            bits = parameter.detach().view(BITS[parameter.element_size()])
            total = (total * 31 + int(bits.sum(dtype=torch.int64))) % 2**61
    return f"{total:x}"


def restore(folder: Path, setup: Setup, window: TrainWindow) -> None:
    """Put weights, optimizer, schedule, window and, last, the random generators back."""
    rank = setup.accelerator.process_index
    load_engine_state(folder, setup)
    window.restore(load_file(folder / f"window-{rank}.safetensors"))
    load_random_state(folder, rank, setup.accelerator.device)


def check_options(run: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Options of a continued run that would change its training are refused, with both values.

    Raises:
        ValueError: names the option.
    """
    endless = now["schedule"] in WITHOUT_END and not 0 < now["warmup"] < 1
    longer = {"epochs", "max_updates"} if endless else set()
    for _, name, item in fields():
        then = before.get(name, default_of(item))
        if item.metadata["affects_training"] and name not in longer | COPIED and then != _as_json(now[name]):
            asked = _as_typed(name.replace("_", "-"), then)
            raise ValueError(
                f"{run}: unfinished run was started with {asked}, now it is {now[name]}; "
                f"give {asked}, or --overwrite to start anew, or another --output-dir"
            )


def _as_typed(flag: str, value: Any) -> str:
    if value is None:
        return f"no --{flag}"
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {value}"


def interval(text: str) -> tuple[int | None, float | None]:
    """(updates, None) of "500", (None, seconds) of "10m"; ValueError otherwise."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", text)
    if found is None or float(found[1]) <= 0 or (not found[2] and "." in found[1]):
        raise ValueError(f"--checkpoint-every {text}: give updates (500) or minutes (10m)")
    return (None, float(found[1]) * 60) if found[2] else (int(found[1]), None)


def _short(value: Any) -> str:
    """A digest by its beginning, as people compare them."""
    return f"{value[:12]}…" if isinstance(value, str) and len(value) > 24 else str(value)


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
