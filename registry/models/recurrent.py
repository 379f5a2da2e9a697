"""Recurrent networks: RNN (Elman 1990), GRU (Cho et al. 2014), LSTM, and both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from registry.heads import TOKEN_CLASSIFICATION
from registry.models.baseline import Baseline, Pooling
from registry.plugins import not_an_option, option

if TYPE_CHECKING:
    from registry.models.networks.recurrent import RecurrentEncoder


@dataclass(frozen=True, kw_only=True)
class Recurrent(Baseline):
    """RNN, GRU and LSTM, one-way or both ways, for texts and for tokens (there with a CRF by option)."""

    cell: Literal["rnn", "gru", "lstm"] = not_an_option("lstm")
    bidirectional: bool = not_an_option(False)
    hidden_size: int = option(256, "Width of the state in each direction.", minimum=1)
    layers: int = option(1, "Recurrent layers.", minimum=1)
    pooling: Pooling = option("mean", "How token states become one vector.")
    dropout: float = option(
        0.3, "On the embeddings, between layers and before the classifier.", minimum=0, maximum=0.95
    )

    def encoder(self) -> RecurrentEncoder:
        """A fresh recurrent encoder."""
        from registry.models.networks.recurrent import RecurrentEncoder

        return RecurrentEncoder(
            self.cell, self.embedding_size, self.hidden_size, self.layers, self.bidirectional, self.dropout
        )


DEFAULTS = {
    "learning_rate": 1e-3,
    "epochs": 5,
    "batch_size": 32,
    "max_length": 400,
    "warmup": 0.05,
    "weight_decay": 0.01,
    "precision": "fp32",
}

rnn = Recurrent(description="Elman network, one layer", cell="rnn", defaults=DEFAULTS)
gru = Recurrent(description="GRU, one layer", cell="gru", defaults=DEFAULTS)
lstm = Recurrent(description="LSTM, one layer", cell="lstm", defaults=DEFAULTS)
bilstm = Recurrent(
    description="bidirectional LSTM; crf=true for entities", bidirectional=True, hidden_size=128, defaults=DEFAULTS
)
bilstm_crf = Recurrent(
    description="bidirectional LSTM and CRF for entities, over words with their case or over characters",
    bidirectional=True,
    crf=True,
    lowercase=False,
    vectors="word2vec",
    dropout=0.25,
    heads=(TOKEN_CLASSIFICATION,),
    defaults={**DEFAULTS, "epochs": 10},
)
