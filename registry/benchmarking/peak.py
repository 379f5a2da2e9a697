"""How fast this device multiplies matrices, and how many multiplications training needs."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

import torch
from torch import nn

SECONDS = 1.0


def matmul_peak(precision: str, device: torch.device, size: int | None = None) -> float:
    """FLOP/s of a large square matrix product in `precision` ("fp32", "tf32", "bf16", "fp16"), the best of several."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
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


def flops_per_token(
    module: nn.Module,
    depths: Mapping[str, int],
    *,
    length: float,
    scored_per_token: float,
    spared: Collection[str] = (),
) -> float:
    """FLOP of training for one real token: 2 a weight forward, 2 for activations' and 2 for its own gradient.

    Frozen weights have no gradient of their own, and below the lowest trained one there is none at all.
    Embeddings are looked up, not multiplied. Poolers, heads and a decoder tied to the embeddings count for
    each scored item (a text, a word, a masked token), whatever a side computes beside them. Attention is
    4 x width x length forward in every layer.

    Args:
        depths: `spec.layer_map(module)`; the greatest depth is the head's.
        length: of the sequence that a token stands in, the mean over tokens.
        spared: weights of the last layer that are needed for each scored item only, as the head's are.
    """
    top = max(depths.values(), default=0)
    lowest = min((depths[name] for name, p in module.named_parameters() if p.requires_grad), default=top + 1)
    config = getattr(module, "config", None)
    layers, width = getattr(config, "num_hidden_layers", 0), getattr(config, "hidden_size", 0)
    shared = max(1, layers // max(top - 1, 1))  # ALBERT's layers are one, used so many times
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    total = 0.0
    for name, weight in module.named_parameters():
        if weight.ndim >= 2 and id(weight) not in embeddings:
            once = depths[name] == top > 0 or name in spared
            times = scored_per_token if once else shared if depths[name] else 1.0
            total += times * weight.numel() * (2 + 2 * (depths[name] >= lowest) + 2 * weight.requires_grad)
    for part in module.modules():
        if isinstance(part, nn.Linear) and id(part.weight) in embeddings:
            total += scored_per_token * part.weight.numel() * (4 + 2 * part.weight.requires_grad)
    layers -= bool(spared)
    with_gradient = min(layers, layers + 1 - lowest) if lowest <= layers else 0
    return total + (4 * layers + 8 * with_gradient) * width * length


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
