"""How fast this device multiplies matrices, and how many multiplications training needs."""

from __future__ import annotations

import time

import torch
from torch import nn

SECONDS = 1.0


def matmul_peak(precision: str, device: torch.device, size: int | None = None) -> float:
    """FLOP/s of a large square matrix product in `precision` ("fp32", "bf16" or "fp16"), the best of several."""
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    size = size or (8192 if device.type == "cuda" else 2048)
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    torch.mm(a, b)
    best, until = 0.0, time.perf_counter() + SECONDS
    while not best or time.perf_counter() < until:
        _wait(device)
        started = time.perf_counter()
        torch.mm(a, b)
        _wait(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def flops_per_token(module: nn.Module, length: float) -> float:
    """Forward and backward FLOP of one real token: 6 x matrix weights + 12 x layers x width x length.

    Embeddings are looked up, not multiplied. `length` is the mean length of the sequence that a
    token stands in (weighted by tokens).
    """
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    weights = sum(p.numel() for p in module.parameters() if p.ndim >= 2 and id(p) not in embeddings)
    config = getattr(module, "config", None)
    layers, width = getattr(config, "num_hidden_layers", 0), getattr(config, "hidden_size", 0)
    return 6 * weights + 12 * layers * width * length


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
