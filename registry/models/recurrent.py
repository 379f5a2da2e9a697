"""Recurrent networks over packed sequences: RNN (Elman 1990), GRU (Cho et al. 2014), LSTM, and both ways."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from registry.models.baseline import Baseline, Encoder
from registry.plugins import not_an_option, option

CELLS: dict[str, type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentEncoder(Encoder):
    """Fused kernels over packed sequences: no step is spent on padding, and none can reach a state."""

    def __init__(self, cell: str, inputs: int, hidden: int, layers: int, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        self.directions = 2 if bidirectional else 1
        self.width = hidden * self.directions
        self.rnn = CELLS[cell](
            inputs,
            hidden,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,
        )
        for name, parameter in self.rnn.named_parameters():
            _initialise(name, parameter, cell, hidden)

    def forward(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """States of all steps; zeros at padded positions."""
        packed = pack_padded_sequence(embedded, mask.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False)
        states, _ = self.rnn(packed)
        return pad_packed_sequence(states, batch_first=True, total_length=embedded.shape[1])[0]

    def depths(self) -> dict[str, int]:
        """`rnn.weight_ih_l0`: the number behind the last l."""
        names = (name for name, _ in self.named_parameters())
        return {name: int(re.sub(r".*_l(\d+)(_reverse)?$", r"\1", name)) + 1 for name in names}


@dataclass(frozen=True, kw_only=True)
class Recurrent(Baseline):
    """RNN, GRU and LSTM, one-way or both ways, for texts and for tokens (there with a CRF by option)."""

    cell: Literal["rnn", "gru", "lstm"] = not_an_option("lstm")
    bidirectional: bool = not_an_option(False)
    hidden_size: int = option(256, "Width of the state in each direction.", minimum=1)
    layers: int = option(1, "Recurrent layers.", minimum=1)

    def encoder(self) -> RecurrentEncoder:
        """A fresh recurrent encoder."""
        return RecurrentEncoder(
            self.cell, self.embedding_size, self.hidden_size, self.layers, self.bidirectional, self.dropout
        )


def _initialise(name: str, parameter: Tensor, cell: str, hidden: int) -> None:
    """Xavier into each gate, orthogonal from state to state, zero biases, and an LSTM that remembers at first.

    Orthogonal recurrences keep gradients alive over hundreds of steps (Saxe et al. 2014); the forget
    gate's bias of 1 follows Jozefowicz et al. 2015.
    """
    if "weight_hh" in name:
        for gate in parameter.data.split(hidden):
            nn.init.orthogonal_(gate)
    elif "weight_ih" in name:
        for gate in parameter.data.split(hidden):
            nn.init.xavier_uniform_(gate)
    else:
        nn.init.zeros_(parameter)
        if cell == "lstm" and "bias_ih" in name:
            parameter.data[hidden : 2 * hidden] = 1.0


DEFAULTS = {
    "learning_rate": 1e-3,
    "epochs": 8,
    "batch_size": 64,
    "max_length": 400,
    "warmup": 0.05,
    "weight_decay": 0.01,
    "precision": "fp32",
}

rnn = Recurrent(description="Elman network, one layer", cell="rnn", defaults={**DEFAULTS, "learning_rate": 5e-4})
gru = Recurrent(description="GRU, one layer", cell="gru", defaults=DEFAULTS)
lstm = Recurrent(description="LSTM, one layer", cell="lstm", defaults=DEFAULTS)
bilstm = Recurrent(
    description="bidirectional LSTM; crf=true for entities", bidirectional=True, hidden_size=128, defaults=DEFAULTS
)
