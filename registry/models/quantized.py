"""Frozen weights of a model's layers in 8 or 4 bits (bitsandbytes), for training adapters beside them.

int8: LLM.int8 (Dettmers et al. 2022), one scale a row; nf4: 4-bit NormalFloat (Dettmers et al. 2023), one
scale for 64 weights. Embeddings and head stay as they are. Works on a CPU and on GPUs.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def quantize(module: nn.Module, kind: str | None) -> None:
    """Replace every linear map in the layers of `module`, in place.

    Args:
        kind: "int8", "nf4", or None to leave everything as it is.

    Raises:
        ValueError: there is none.
    """
    if kind is None:
        return
    from torch import nn

    from registry.models.layers import find_backbone, layer_stacks

    # LLM.int8 rounds its inputs to float16 and says so at every call.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    replaced = 0
    for _, layer in layer_stacks(find_backbone(module)[1]).values():
        for name, part in list(layer.named_modules()):
            if type(part) is nn.Linear:
                parent, _, key = name.rpartition(".")
                setattr(layer.get_submodule(parent), key, _quantized(part, kind))
                replaced += 1
    if not replaced:
        raise ValueError(f"--quantize {kind}: this model has no linear maps in its layers")
    # PEFT chooses its adapters by these.
    module.is_loaded_in_8bit = kind == "int8"  # type: ignore[assignment]
    module.is_loaded_in_4bit = kind == "nf4"  # type: ignore[assignment]


def dequantized_weights(module: nn.Module) -> dict[str, Tensor]:
    """The float32 weight of every quantised linear map, by the map's name; on the CPU, a GPU may not hold them all."""
    kinds = _kinds()
    return {name: _dequantized(part) for name, part in module.named_modules() if isinstance(part, kinds)}


def _quantized(linear: nn.Linear, kind: str) -> nn.Module:
    if kind == "int8":
        from registry.models.int8_linear import Int8Linear

        return Int8Linear(linear)
    from bitsandbytes.nn.modules import Linear4bit, Params4bit

    shape = (linear.in_features, linear.out_features)
    # Scales stay float32 (no double quantisation): quantising what was dequantised gives the same bits.
    made: Any = Linear4bit(*shape, bias=linear.bias is not None, quant_type="nf4", compress_statistics=False)
    made.weight = Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=False)
    made.bias = linear.bias
    made.support_avx512bf16_for_cpu = False  # it would pack its weights anew in eval mode, and could train no more
    return made.to("cpu")  # this is when bitsandbytes quantises


def _dequantized(part: Any) -> Tensor:
    from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant
    from bitsandbytes.nn.modules import Linear8bitLt

    weight = part.weight
    if isinstance(part, Linear8bitLt):
        scales: Any = part.state.SCB
        return int8_vectorwise_dequant(weight.data, scales).float().cpu()
    return dequantize_4bit(weight.data, weight.quant_state).float().cpu()


def _kinds() -> tuple[type, ...]:
    if "bitsandbytes" not in sys.modules:  # nothing can have been quantised
        return ()
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

    return (Linear8bitLt, Linear4bit)
