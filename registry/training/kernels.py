"""How a module computes, not what: deterministic kernels, recomputed activations, compilation, attention."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from registry.allocator import keep_memory
from registry.models.layers import find_backbone
from registry.training.dropout import replace_dropout

if TYPE_CHECKING:
    from torch import nn


def use_deterministic_kernels() -> None:
    """Have every kernel compute the same bits each time, or raise RuntimeError; before a device is used.

    Torch's attention stays as it is where it would only be warned of, so that errors they must be.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ["FLASH_ATTENTION_DETERMINISTIC"] = "1"  # read by transformers, for the package flash-attn
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # finds bugs, at a cost
    torch.backends.cudnn.benchmark = False


def checkpoint_activations(module: nn.Module) -> None:
    """Keep each layer's input alone and compute the rest anew in the backward pass, in place.

    Raises:
        ValueError: the architecture cannot.
    """
    _, backbone = find_backbone(module)
    if not getattr(backbone, "supports_gradient_checkpointing", False):
        raise ValueError(f"--gradient-checkpointing: {type(backbone).__name__} does not support it")
    enable: Any = backbone.gradient_checkpointing_enable
    enable(gradient_checkpointing_kwargs={"use_reentrant": False})  # the reentrant form breaks DDP and frozen inputs


def suit_processor(module: nn.Module, *, compiled: bool) -> None:
    """Let training on CPUs keep freed memory and draw dropout cheaply, in place; compiled code draws its own."""
    keep_memory()
    if not compiled:
        replace_dropout(module)


def compile_module(module: nn.Module, *, zero_stage: int) -> None:
    """Compile the forward pass, in place, once for all batch shapes; names of weights stay.

    Raises:
        ValueError: ZeRO-3 fetches weights inside forward, which cannot be compiled.
    """
    if zero_stage == 3:
        raise ValueError("--compile does not work with ZeRO-3, which fetches weights inside forward; use ZeRO-2")
    module.compile(dynamic=True)


def check_attention(module: nn.Module, precision: str, device: str) -> None:
    """ValueError where flash attention would meet float32 or a CPU, neither of which its kernels know.

    Args:
        precision: of autocast: "fp16", "bf16" or "no".
    """
    if describe_attention(module).startswith("flash_attention") and (precision == "no" or device == "cpu"):
        raise ValueError(
            "--attention flash_attention_2 computes only in fp16 and bf16 and on a GPU: "
            "take --precision bf16, or --attention sdpa"
        )


def describe_attention(module: nn.Module) -> str:
    """The attention implementation, and for SDPA on a GPU the kernels that it may choose from; empty where none."""
    config = getattr(find_backbone(module)[1], "config", None)
    name = str(getattr(config, "_attn_implementation", None) or "")
    if name != "sdpa" or not torch.cuda.is_available():
        return name
    kernels = {
        "flash": torch.backends.cuda.flash_sdp_enabled(),
        "memory-efficient": torch.backends.cuda.mem_efficient_sdp_enabled(),
        "cuDNN": torch.backends.cuda.cudnn_sdp_enabled(),
        "math": torch.backends.cuda.math_sdp_enabled(),
    }
    return f"sdpa ({', '.join(kernel for kernel, enabled in kernels.items() if enabled)})"
