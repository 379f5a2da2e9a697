"""The random generators of one process, as tensors and JSON: Python, numpy, torch, its own accelerator."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def draw_again(device: torch.device) -> Callable[[], None]:
    """A function that sets the generators of forward passes on `device` back to where they are now."""
    states = _torch_states(device)
    return lambda: _set_torch_states(states, device)


def save_random_state(folder: Path, rank: int, device: torch.device) -> None:
    """Write `random-<rank>.safetensors`; of accelerators only `device`, of whatever number: a rank uses no other."""
    numpy_state: Any = np.random.get_state(legacy=False)
    numpy_key = torch.from_numpy(numpy_state["state"]["key"].astype(np.int64))
    rest = {key: numpy_state[key] for key in ("has_gauss", "gauss")} | {"pos": numpy_state["state"]["pos"]}
    metadata = {"python": json.dumps(random.getstate()), "numpy": json.dumps(rest)}
    tensors = {**_torch_states(device), "numpy": numpy_key}
    save_file(tensors, folder / f"random-{rank}.safetensors", metadata=metadata)


def load_random_state(folder: Path, rank: int, device: torch.device) -> None:
    """Set every generator to what `save_random_state` wrote; nothing may draw between this and the next update."""
    from safetensors import safe_open

    path = folder / f"random-{rank}.safetensors"
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    version, internal, gauss = json.loads(metadata["python"])
    random.setstate((version, tuple(internal), gauss))
    rest = json.loads(metadata["numpy"])
    key = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state({"bit_generator": "MT19937", "state": {"key": key, "pos": rest["pos"]}, **rest})
    _set_torch_states(tensors, device)


def _torch_states(device: torch.device) -> dict[str, Tensor]:
    """What a forward pass on `device` draws from."""
    there = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"torch": torch.get_rng_state(), **there}


def _set_torch_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
