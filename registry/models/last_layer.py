"""The last layer for what the head reads alone, first tokens or masked ones: the same logits for less.

A sixth of MiniLM's work, a twelfth of BERT-base's: of the last layer only keys and values are needed of all tokens.
"""

from __future__ import annotations

import threading
import types
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from registry.models.layers import find_backbone, layer_stacks
from registry.models.packed_attention import PACKED_SDPA, Packed
from registry.models.packing import pack_inputs
from registry.models.scored_positions import ScoredPositions
from registry.models.trials import agree, in_eval, two_texts


def spare_last_layer(module: nn.Module) -> bool:
    """Let `module`, in place, compute its last layer for what its head reads alone; whether it could.

    It could where the layer is built as BERT's (RoBERTa, XLM-R, ELECTRA, ERNIE, MiniLM, …) or DistilBERT's, its
    attention is SDPA, and a trial shows that the logits depend on no other token's last state, and are the same.
    A masked-lm head reads `scored_positions`, where a batch has them. Names of weights stay, and whoever calls the
    backbone alone gets the states of all tokens. A module that allows packing is told so before.
    """
    _, backbone = find_backbone(module)
    stacks = list(layer_stacks(backbone).values())
    layer: Any = stacks[-1][1] if stacks else None
    config: Any = getattr(backbone, "config", None)
    kernels = getattr(config, "_attn_implementation", "")
    if layer is None or getattr(layer, "is_decoder", False) or kernels not in ("sdpa", PACKED_SDPA):
        return False
    parts = {name for name, _ in layer.named_modules()}
    compute = next((compute for kind, compute in KINDS.items() if parts.issuperset(kind)), None)
    if compute is None:
        return False
    owners = [getattr(hook, "__self__", None) for hook in module._forward_pre_hooks.values()]
    scored = next((owner for owner in owners if isinstance(owner, ScoredPositions)), None)
    own = OwnForward()
    handles = own.attach(module) if scored is None else []
    try:
        inputs = two_texts(config, longest=9, shortest=4)
        if scored is not None:
            inputs["scored_positions"] = torch.tensor([2, 9, 13, 17])
        device = next(module.parameters()).device
        inputs = {name: values.to(device) for name, values in inputs.items()}
        with in_eval(module):
            read = scored is not None or _reads_first_tokens(module, layer, inputs)
            layer.asked = own.read if scored is None else types.MethodType(_scored, scored)
            exact = read and _gives_the_same(module, layer, compute, inputs)
            if exact and kernels == PACKED_SDPA:
                with torch.no_grad():
                    exact = agree(module(**pack_inputs(inputs))["logits"], module(**inputs)["logits"])
    except Exception:  # an architecture that takes other arguments, or other masks: it keeps its layer
        exact = False
    if not exact:
        for name in ("forward", "asked", "spared"):
            vars(layer).pop(name, None)
        for handle in handles:
            handle.remove()
    return exact


def spared_parameters(module: nn.Module) -> frozenset[str]:
    """Names of the weights of `module` that `spare_last_layer` has used once for each scored item."""
    prefix, backbone = find_backbone(module)
    path, (_, layer) = list(layer_stacks(backbone).items())[-1]
    return frozenset(f"{prefix}{path}.{name}" for name, _ in layer.named_parameters() if not name.startswith(OF_ALL))


class Read(Protocol):
    """What of the states behind the last layer is read."""

    def select(self, states: Tensor) -> Tensor:
        """(batch, length, width) -> the states that are read, in some shape of three dimensions."""

    def place(self, chosen: Tensor, states: Tensor) -> Tensor:
        """What `select` gives of `states`, or was made of it -> where attention takes it for queries, and the head."""

    def rows(self, mask: Tensor) -> Tensor:
        """(batch, 1, length, length) -> the rows of these queries."""

    def among(self, packed: Packed) -> Read:
        """The same of packed states, (1, tokens, width)."""


class FirstToken:
    """The first token of each text; nothing else is there any more."""

    def select(self, states: Tensor) -> Tensor:
        """(batch, 1, width)."""
        return states[:, :1]

    def place(self, chosen: Tensor, states: Tensor) -> Tensor:
        """As it is."""
        return chosen

    def rows(self, mask: Tensor) -> Tensor:
        """(batch, 1, 1, length)."""
        return mask[:, :, :1]

    def among(self, packed: Packed) -> Read:
        """Where each text begins."""
        return Positions(packed.boundaries[:-1].long())


class Positions:
    """Some positions of the flattened batch; the others are zero. How many a text has is not asked."""

    def __init__(self, positions: Tensor) -> None:
        self.positions = positions

    def select(self, states: Tensor) -> Tensor:
        """(1, positions, width)."""
        return states.flatten(0, 1).index_select(0, self.positions).unsqueeze(0)

    def place(self, chosen: Tensor, states: Tensor) -> Tensor:
        """(batch, length, width)."""
        batch, length, _ = states.shape
        nothing = chosen.new_zeros(batch * length, chosen.shape[-1])
        return nothing.index_copy(0, self.positions, chosen[0]).unflatten(0, (batch, length))

    def rows(self, mask: Tensor) -> Tensor:
        """All of them."""
        return mask

    def among(self, packed: Packed) -> Read:
        """How many real tokens are before each."""
        return Positions(torch.searchsorted(packed.positions, self.positions))


class OwnForward:
    """Hooks that know whether a module itself runs, in this thread, and with it the head that reads first tokens."""

    def __init__(self) -> None:
        self.here = threading.local()

    def __deepcopy__(self, memo: dict[int, Any]) -> OwnForward:
        """A copied module does not run."""
        return OwnForward()

    def attach(self, module: nn.Module) -> list[RemovableHandle]:
        """Register the hooks."""
        ended = module.register_forward_hook(self.end, always_call=True)
        return [module.register_forward_pre_hook(self.begin), ended]

    def begin(self, module: nn.Module, args: Any) -> None:
        """The module runs."""
        self.here.runs = True

    def end(self, module: nn.Module, args: Any, outputs: Any) -> None:
        """It runs no more, or failed."""
        self.here.runs = False

    def read(self) -> Read | None:
        """First tokens, so long as the module runs."""
        return FirstToken() if getattr(self.here, "runs", False) else None


def _scored(scored: ScoredPositions) -> Read | None:
    """The masked positions of this batch, where they alone are wanted."""
    positions = scored.positions
    return None if positions is None else Positions(positions)


def _forward(layer: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, *args: Any, **given: Any) -> Any:
    """The layer's forward, for what is asked of it."""
    read = layer.asked()
    if read is None:
        return type(layer).forward(layer, hidden_states, attention_mask, *args, **given)
    packed = given.get("packed")
    if packed is not None:
        read = read.among(packed)
    return layer.spared(layer, hidden_states, attention_mask, read, packed)


def _of_bert(layer: Any, states: Tensor, mask: Tensor | None, read: Read, packed: Packed | None) -> Tensor:
    """BERT's layer: attention and a residual, a hidden layer and a residual, a norm behind each."""
    attention, chosen = layer.attention.self, read.select(states)
    maps = attention.query, attention.key, attention.value
    attended = layer.attention.output(_attend(attention, maps, states, chosen, mask, read, packed), chosen)
    return read.place(layer.feed_forward_chunk(attended), states)


def _of_distilbert(layer: Any, states: Tensor, mask: Tensor | None, read: Read, packed: Packed | None) -> Tensor:
    """DistilBERT's layer, which has other names for the same."""
    attention, chosen = layer.attention, read.select(states)
    maps = attention.q_lin, attention.k_lin, attention.v_lin
    attended = attention.out_lin(_attend(attention, maps, states, chosen, mask, read, packed))
    attended = layer.sa_layer_norm(attended + chosen)
    return read.place(layer.output_layer_norm(layer.ffn(attended) + attended), states)


def _attend(
    attention: Any,
    maps: tuple[nn.Module, ...],
    states: Tensor,
    chosen: Tensor,
    mask: Tensor | None,
    read: Read,
    packed: Packed | None,
) -> Tensor:
    """What the chosen tokens find in all; `maps` make queries, keys and values."""
    query, key, value = maps
    made = read.place(query(chosen), states), key(states), value(states)
    width = attention.attention_head_size
    attended, _ = ALL_ATTENTION_FUNCTIONS[attention.config._attn_implementation](
        attention,
        *(part.unflatten(-1, (-1, width)).transpose(1, 2) for part in made),
        None if mask is None else read.rows(mask),
        dropout=attention.dropout.p if attention.training else 0.0,
        scaling=attention.scaling,
        **({} if packed is None else {"packed": packed}),
    )
    return read.select(attended.flatten(2))


KINDS = {
    ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"): _of_bert,
    ("attention.q_lin", "attention.k_lin", "attention.v_lin", "sa_layer_norm", "ffn"): _of_distilbert,
}
"""Parts that a layer has -> how it computes. Whether it really does is tried."""

OF_ALL = ("attention.self.key.", "attention.self.value.", "attention.k_lin.", "attention.v_lin.")


def _reads_first_tokens(module: nn.Module, layer: nn.Module, inputs: dict[str, Tensor]) -> bool:
    """Whether the logits depend on the first tokens' states behind the layer, and on no others."""
    seen: list[Tensor] = []

    def watched(part: nn.Module, args: Any, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1]

    handle = layer.register_forward_hook(watched)
    try:
        with torch.enable_grad():
            logits = module(**inputs)["logits"]
            scores = logits.float() * torch.linspace(0.5, 1, logits.numel(), device=logits.device).view_as(logits)
            (gradient,) = torch.autograd.grad(scores.sum(), seen)  # fails where the layer is used more than once
    finally:
        handle.remove()
    read = gradient.abs().sum(dim=(0, 2))
    return bool(read[0] > 0 and not read[1:].any())


@torch.no_grad()
def _gives_the_same(module: nn.Module, layer: Any, compute: Any, inputs: dict[str, Tensor]) -> bool:
    """Let the layer be spared, and see whether what is read of it is what it was."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda part, args, output: seen.append(output))
    try:
        module(**inputs)
        layer.spared = compute
        layer.forward = types.MethodType(_forward, layer)
        module(**inputs)
    finally:
        handle.remove()
    if len(seen) != 2:
        return False
    whole, alone = seen
    read = Positions(inputs["scored_positions"]) if "scored_positions" in inputs else FirstToken()
    return agree(read.select(alone), read.select(whole))
