"""LLM.int8's linear map as part of a model: its scales stay where its weight is.

This module imports bitsandbytes; `registry.models.quantized` imports it where something is quantised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bitsandbytes.nn.modules import Int8Params, Linear8bitLt
from torch import Tensor, nn


class Int8Linear(Linear8bitLt):
    """A linear map in 8 bits, one scale a row, quantised when it is made.

    bitsandbytes moves the scales with the map alone, but a model that goes to a device moves its parts' parameters.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, has_fp16_weights=False)
        self.weight = Int8Params(linear.weight.data, requires_grad=False, has_fp16_weights=False)
        self.bias = linear.bias
        self.to("cpu")  # this is when bitsandbytes quantises

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out); bitsandbytes' kernel for GPUs takes its rows to lie one behind another."""
        result: Tensor = super().forward(x.contiguous())
        return result

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Int8Linear:
        super()._apply(fn, recurse)
        weight: Any = self.weight
        if weight.CB is not None:
            self.init_8bit_state()
        state: Any = self.state
        state.CB, state.SCB = weight.data, state.SCB.to(weight.device)
        return self
