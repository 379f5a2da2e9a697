"""Texts of a batch packed into one row of real tokens: layers compute no padding, attention stays within each text.

Embeddings see the padded batch and heads get padded states, so that positions, whatever their offset, pooling and
losses are what they always are. Between them states are (1, tokens, width), and attention is told where each text
begins under the names that transformers' flash attention has for it (`cu_seq_lens_q`, …).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from registry.models.cpu_attention import PIECE, Piece, attend_pieces
from registry.models.layers import find_backbone, layer_stacks
from registry.models.trials import agree, in_eval, two_texts

PACKED_SDPA = "packed_sdpa"
"""Name of `attend` among transformers' attention functions."""

POSITIONS, BOUNDARIES = "packed_positions", "packed_boundaries"


def pack_inputs(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs with `packed_positions` (tokens,) int64 and `packed_boundaries` (batch + 1,) int32 added.

    The positions are those of real tokens in the flattened batch. Found here, on the CPU, a device need not be asked
    how many there are. Without padding there is nothing to add, nor where the mask is not one of tokens.
    """
    mask, ids = inputs.get("attention_mask"), inputs.get("input_ids")
    if mask is None or ids is None or mask.ndim != 2 or mask.shape != ids.shape or mask.all():
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


@dataclass(frozen=True)
class Packed:
    """How one batch is packed: what `pack_inputs` added to it, and its (batch, length)."""

    positions: Tensor
    boundaries: Tensor
    shape: tuple[int, int]
    layouts: dict[tuple[int, int | None], Layout] = field(default_factory=dict)
    """By heads and window of attention."""

    def layout(self, heads: int, window: int | None) -> Layout:
        """That of this batch, made once for all layers that are alike."""
        if (heads, window) not in self.layouts:
            self.layouts[heads, window] = build_layout(self.boundaries, heads, window)
        return self.layouts[heads, window]


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


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packed: Packed | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it; states are (1, heads, tokens, width), the result (1, tokens, heads, width).

    An ordinary batch, which is not packed, is attended as ever.

    Args:
        sliding_window: tokens see those that are less far away.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    sdpa: Any = ALL_ATTENTION_FUNCTIONS["sdpa"]
    if packed is None:
        return sdpa(module, query, key, value, attention_mask, dropout, scaling, **others)  # type: ignore[no-any-return]
    window = sliding_window if sliding_window and packed.shape[1] > sliding_window else None
    if query.device.type == "cuda" and window is None:
        return attend_ragged(query, key, value, packed.boundaries, packed.shape[1], dropout, scaling), None
    if query.device.type == "cpu" and 0 < dropout < 1:
        layout = packed.layout(query.shape[1], window)
        return attend_together(query, key, value, layout, dropout, scaling or query.shape[-1] ** -0.5), None
    attended = []
    runs = [(length, len(list(run))) for length, run in itertools.groupby(packed.boundaries.diff().tolist())]
    tokens = [length * texts for length, texts in runs]
    split = [states[0].split(tokens, dim=1) for states in (query, key, value)]
    for (length, texts), *parts in zip(runs, *split, strict=True):
        batch = [part.unflatten(1, (texts, length)).transpose(0, 1) for part in parts]
        mask = band(length, window, query.device)[None, None] if window and length > window else None
        attended.append(sdpa(module, *batch, mask, dropout, scaling, is_causal=False)[0].flatten(0, 1))
    return torch.cat(attended).unsqueeze(0), None


def attend_ragged(
    query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor, longest: int, dropout: float, scaling: float | None
) -> Tensor:
    """All texts in one kernel, which draws the dropout as well; nothing waits for the device."""
    query, key, value = (
        torch.nested.nested_tensor_from_jagged(
            states[0].transpose(0, 1).contiguous(), boundaries, min_seqlen=1, max_seqlen=longest
        ).transpose(1, 2)
        for states in (query, key, value)
    )
    attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=scaling)
    return attended.transpose(1, 2).values().unsqueeze(0)


def band(length: int, width: int, device: torch.device) -> Tensor:
    """(length, length): which tokens are less than `width` apart."""
    places = torch.arange(length, device=device)
    return (places[:, None] - places).abs() < width


WASTE = 1 << 12
"""Attention weights a head that are spent on padding before another piece, whose calls cost as much, is begun."""


@dataclass(frozen=True)
class Layout:
    """Where packed texts stand while they are attended: texts of about one length together, padded to its longest.

    The states of a token and a head are one row: rows (tokens * heads) are spread over the slots of the pieces
    (texts * heads * length, one piece behind another), and collected from them.
    """

    pieces: list[Piece]
    rows: Tensor
    """(slots,) the row of each slot; any where the slot is padding."""
    padding: Tensor
    """Which slots are."""
    slots: Tensor
    """(tokens * heads,) the slot of each row."""


def build_layout(boundaries: Tensor, heads: int, window: int | None) -> Layout:
    """The longest texts first; `window` as for `attend`."""
    lengths, order = boundaries.diff().sort(descending=True, stable=True)
    pieces, rows = [], []
    for texts in together(lengths.tolist(), heads):
        longest = int(lengths[texts.start])
        places = torch.arange(longest)
        real = places < lengths[texts, None]
        tokens = boundaries[order[texts], None] + places
        of_heads = tokens[:, None] * heads + torch.arange(heads)[:, None]
        rows.append(of_heads.masked_fill_(~real[:, None], -1).flatten())
        hidden = None if real.all() else ~real[:, None, None]
        if window and longest > window:
            far = ~band(longest, window, real.device)[None, None]
            hidden = far if hidden is None else hidden | far
        pieces.append(Piece(len(real), longest, longest, hidden))
    of_slots = torch.cat(rows)
    slots = torch.empty(int(boundaries[-1]) * heads, dtype=torch.int64)
    filled = (of_slots >= 0).nonzero().squeeze(1)
    slots[of_slots[filled]] = filled
    return Layout(pieces, of_slots.clamp(min=0), (of_slots < 0).nonzero().squeeze(1), slots)


def together(lengths: list[int], heads: int) -> list[slice]:
    """Which texts, the longest first, make a piece: little padding, and weights that stay in the cache."""
    pieces, start, wasted = [], 0, 0
    for place, length in enumerate(lengths):
        longest = lengths[start]
        wasted += longest**2 - length**2
        if wasted > WASTE or (place > start and (place + 1 - start) * heads * longest**2 > PIECE):
            pieces.append(slice(start, place))
            start, wasted = place, 0
    return [*pieces, slice(start, len(lengths))]


def attend_together(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, dropout: float, scaling: float
) -> Tensor:
    """Texts of about one length in one call, on a CPU."""
    rows = (states[0].transpose(0, 1).flatten(0, 1) for states in (query, key, value))
    queries, keys, values = (_Spread.apply(states, layout) for states in rows)  # type: ignore[no-untyped-call]
    heads = query.shape[1]
    attended = attend_pieces(queries, keys, values, heads, layout.pieces, dropout, scaling)
    return _Collect.apply(attended, layout).view(1, -1, heads, attended.shape[1])  # type: ignore[no-any-return, no-untyped-call]


def _spread(rows: Tensor, layout: Layout) -> Tensor:
    return rows.index_select(0, layout.rows).index_fill_(0, layout.padding, 0)


class _Spread(torch.autograd.Function):
    """Rows in their slots, zeros in the others; a row has one slot, so that its gradient is nobody's sum."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return _spread(rows, layout)

    @staticmethod
    @once_differentiable  # type: ignore[no-untyped-call, untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.layout.slots), None


class _Collect(torch.autograd.Function):
    """The way back."""

    @staticmethod
    def forward(ctx: Any, spread: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return spread.index_select(0, layout.slots)

    @staticmethod
    @once_differentiable  # type: ignore[no-untyped-call, untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _spread(gradient, ctx.layout), None
