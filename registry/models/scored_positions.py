"""Masked-lm heads that project only the positions that are scored.

A vocabulary is tens of thousands wide and about one position in seven is scored: gathering those
positions behind the backbone, before the head, gives the same logits for a fraction of the work.
"""

from __future__ import annotations

import threading
from typing import Any

from torch import Tensor, nn


class ScoredPositions:
    """Hooks that let `module(scored_positions=…, **inputs)` return logits of (scored, vocabulary).

    `scored_positions` (scored,) int64 are indices into the flattened (batch · length) positions. Without
    them the logits stay (batch, length, vocabulary). A service runs the module in several threads at a time.
    """

    def __init__(self) -> None:
        self.here = threading.local()
        """`positions` of this thread's batch; a dictionary by thread would have a compiled module compiled again."""

    def __deepcopy__(self, memo: dict[int, Any]) -> ScoredPositions:
        """A copied module begins with no batch."""
        return ScoredPositions()

    @property
    def positions(self) -> Tensor | None:
        """Those of this thread's batch; None where all positions are wanted."""
        return getattr(self.here, "positions", None)

    def attach(self, module: nn.Module, backbone: nn.Module) -> None:
        """Register the hooks; weights and their names stay as they are."""
        module.register_forward_pre_hook(self.take, with_kwargs=True)
        backbone.register_forward_hook(self.gather)
        module.register_forward_hook(self.flatten)

    def take(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Keep the positions from the forward that does not know them."""
        self.here.positions = kwargs.pop("scored_positions", None)
        return args, kwargs

    def gather(self, backbone: nn.Module, args: Any, outputs: Any) -> Any:
        """(batch, length, width) states -> (1, scored, width)."""
        positions = self.positions
        if positions is not None:
            states = outputs["last_hidden_state"]
            outputs["last_hidden_state"] = states.flatten(0, 1).index_select(0, positions).unsqueeze(0)
        return outputs

    def flatten(self, module: nn.Module, args: Any, outputs: Any) -> Any:
        """(1, scored, vocabulary) logits -> (scored, vocabulary)."""
        if self.positions is not None:
            outputs["logits"] = outputs["logits"].squeeze(0)
            self.here.positions = None
        return outputs
