"""The random generators of one process, as tensors and JSON: Python, numpy, torch, every accelerator."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file


def draw_again(device: torch.device) -> Callable[[], None]:
    """A function that sets the generators of forward passes on `device` back to where they are now."""
    host = torch.get_rng_state()
    there = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def rewind() -> None:
        torch.set_rng_state(host)
        if there is not None:
            torch.cuda.set_rng_state(there, device)

    return rewind


def save_random_state(folder: Path, rank: int) -> None:
    """Write `random-<rank>.safetensors`."""
    numpy_state: Any = np.random.get_state(legacy=False)
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64))}
    if torch.cuda.is_available():
        tensors |= {f"cuda-{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    rest = {key: numpy_state[key] for key in ("has_gauss", "gauss")} | {"pos": numpy_state["state"]["pos"]}
    metadata = {"python": json.dumps(random.getstate()), "numpy": json.dumps(rest)}
    save_file(tensors, folder / f"random-{rank}.safetensors", metadata=metadata)


def load_random_state(folder: Path, rank: int) -> None:
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
    torch.set_rng_state(tensors["torch"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([tensors[f"cuda-{i}"] for i in range(torch.cuda.device_count())])
