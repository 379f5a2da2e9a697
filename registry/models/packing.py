"""Texts of a batch packed into one row of real tokens: layers compute no padding, attention stays within each text.

Embeddings see the padded batch and heads get padded states, so that positions, whatever their offset, pooling and
losses are what they always are. Between them states are (1, tokens, width), and attention is told where each text
begins: `packed_attention` by a `Packed`, flash attention under the names that transformers has for it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from registry.models.layers import find_backbone, layer_stacks
from registry.models.packed_attention import PACKED_SDPA, Packed, attend
from registry.models.trials import agree, in_eval, two_texts

POSITIONS, BOUNDARIES = "packed_positions", "packed_boundaries"


def pack_inputs(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs with `packed_positions` (tokens,) int64 and `packed_boundaries` (batch + 1,) int32 added.

    The positions are those of real tokens in the flattened batch. Found here, on the CPU, a device need not be asked
    how many there are. Without padding there is nothing to add, nor where the mask is not one of tokens or hides a
    whole text.
    """
    mask, ids = inputs.get("attention_mask"), inputs.get("input_ids")
    if mask is None or ids is None or mask.ndim != 2 or mask.shape != ids.shape or mask.all() or not mask.any(1).all():
        return dict(inputs)
    boundaries = F.pad(mask.sum(dim=1).cumsum(dim=0), (1, 0)).int()
    return {**inputs, POSITIONS: mask.flatten().nonzero().squeeze(1), BOUNDARIES: boundaries}


def allow_packing(module: nn.Module) -> None:
    """Let `module` take what `pack_inputs` adds, in place; names of weights stay, and other batches pass as ever.

    Raises:
        ValueError: the architecture cannot, or not with these attention kernels; the module is then as it was.
    """
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    _, backbone = find_backbone(module)
    config: Any = getattr(backbone, "config", None)
    kind = getattr(config, "model_type", type(module).__name__)
    embeddings = getattr(backbone, "embeddings", None)
    able = getattr(backbone, "_supports_attention_backend", False) and bool(layer_stacks(backbone))
    if not able or not isinstance(embeddings, nn.Module):
        raise ValueError(f"--packing: {kind} cannot keep texts in one row apart; leave it out")
    kernels = config._attn_implementation
    if kernels not in ("sdpa", "flash_attention_2"):
        raise ValueError(f"--packing needs --attention sdpa or flash_attention_2, not {kernels}")
    hooks = Packing().attach(module, backbone, embeddings)
    if kernels == "flash_attention_2":
        return
    ALL_ATTENTION_FUNCTIONS.register(PACKED_SDPA, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(PACKED_SDPA, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    config._attn_implementation = PACKED_SDPA
    if not is_exact(module):
        config._attn_implementation = kernels
        for hook in hooks:
            hook.remove()
        raise ValueError(f"--packing: {kind} gives packed texts other states than padded ones; leave it out")


def is_exact(module: nn.Module) -> bool:
    """Whether a short text beside one with more tokens than local attention reaches gets the states that padding gives.

    Tried, not looked up: what an architecture does with positions and attention is its own affair. One that fails on
    packed texts, in whatever way, does not get them.
    """
    try:
        padded, packed = _trial_outputs(module)
    except Exception:
        return False
    return all(agree(found, expected) for found, expected in zip(packed, padded, strict=True))


def _trial_outputs(module: nn.Module) -> list[list[Tensor]]:
    """States of the trial's real tokens, and the logits that the module makes of them: padded, then packed."""
    _, backbone = find_backbone(module)
    config: Any = backbone.config
    longest = min(80, getattr(config, "max_position_embeddings", 80) - 8)
    padded = two_texts(config, longest=longest, shortest=5)
    states: list[Tensor] = []
    handle = backbone.register_forward_hook(lambda part, args, outputs: states.append(outputs["last_hidden_state"]))
    try:
        with torch.no_grad(), in_eval(module):
            logits = [module(**inputs)["logits"] for inputs in (padded, pack_inputs(padded))]
    finally:
        handle.remove()
    real = padded["attention_mask"].bool()
    return [[x[real] if x.shape[:2] == real.shape else x for x in pair] for pair in zip(states, logits, strict=True)]


class Packing:
    """Hooks that pack states behind the embeddings, and spread them over the padded batch behind the layers."""

    def __init__(self) -> None:
        self.here = threading.local()
        """`batch` of this thread: a service runs the module in several at a time."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Packing:
        """A copied module begins with no batch."""
        return Packing()

    @property
    def batch(self) -> Packed | None:
        """How the batch that this thread computes is packed; None where it is padded."""
        return getattr(self.here, "batch", None)

    def attach(self, module: nn.Module, backbone: nn.Module, embeddings: nn.Module) -> list[RemovableHandle]:
        """Register the hooks; poolers read spread states, whether they stand behind an encoder or a list of layers."""
        path = list(layer_stacks(backbone))[-1]
        owner = path.rpartition(".")[0].rpartition(".")[0]
        rotary = [part for name, part in backbone.named_children() if "rotary" in name]
        return [
            module.register_forward_pre_hook(self.take, with_kwargs=True),
            backbone.register_forward_pre_hook(self.tell, with_kwargs=True),
            embeddings.register_forward_hook(self.pack),
            *(part.register_forward_hook(self.pack_rotary) for part in rotary),
            backbone.get_submodule(owner or path).register_forward_hook(self.unpack),
            module.register_forward_hook(self.forget, always_call=True),
        ]

    def take(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Keep what `pack_inputs` added from the forward that does not know it."""
        positions, boundaries = kwargs.pop(POSITIONS, None), kwargs.pop(BOUNDARIES, None)
        self.here.batch = None if positions is None else Packed(positions, boundaries, tuple(kwargs["input_ids"].shape))
        return args, kwargs

    def tell(self, backbone: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Instead of a mask, the boundaries."""
        if (batch := self.batch) is None:
            return args, kwargs
        config: Any = backbone.config
        # transformers passes a mask of four dimensions on untouched; none would make it build one of all pairs.
        ignored = batch.positions.new_ones(1, 1, 1, 1, dtype=torch.bool)
        if config._attn_implementation == PACKED_SDPA:
            return args, {**kwargs, "attention_mask": ignored, "packed": batch}
        known = {
            "attention_mask": None,
            "cu_seq_lens_q": batch.boundaries,
            "cu_seq_lens_k": batch.boundaries,
            "max_length_q": batch.shape[1],
            "max_length_k": batch.shape[1],
        }
        return args, {**kwargs, **known}

    def pack(self, embeddings: nn.Module, args: Any, states: Tensor) -> Tensor:
        """(batch, length, width) -> (1, tokens, width)."""
        if (batch := self.batch) is None:
            return states
        return states.flatten(0, 1).index_select(0, batch.positions).unsqueeze(0)

    def pack_rotary(self, rotary: nn.Module, args: Any, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Rotations of (1 or batch, length, width) -> (1, tokens, width)."""
        if (batch := self.batch) is None:
            return outputs
        return tuple(self.pack(rotary, args, part.expand(batch.shape[0], -1, -1)) for part in outputs)

    def unpack(self, layers: nn.Module, args: Any, outputs: Any) -> Any:
        """(1, tokens, width) -> (batch, length, width), zero where there is padding."""
        if (batch := self.batch) is None:
            return outputs
        states = outputs if isinstance(outputs, Tensor) else outputs["last_hidden_state"]
        empty = states.new_zeros(batch.shape[0] * batch.shape[1], states.shape[-1])
        spread = empty.index_copy(0, batch.positions, states[0]).unflatten(0, batch.shape)
        if outputs is states:
            return spread
        outputs["last_hidden_state"] = spread
        return outputs

    def forget(self, module: nn.Module, args: Any, outputs: Any) -> None:
        """Hold no tensors between batches."""
        self.here.batch = None
