"""Recommended settings by architecture, as published for fine-tuning on sentence-sized tasks.

They are defaults only: every value can be given on the command line or in a config file.
"""

from __future__ import annotations

from typing import Any

_BERT = {"learning_rate": 5e-5, "warmup": 0.06}
_ROBERTA = {"learning_rate": 2e-5, "warmup": 0.06, "weight_decay": 0.1}
_ELECTRA = {"learning_rate": 1e-4, "warmup": 0.1}
_DEBERTA = {"learning_rate": 2e-5, "warmup": 0.1}
_DECODER = {"learning_rate": 2e-5, "warmup": 0.06}
_T5 = {"learning_rate": 1e-4, "warmup": 0.06}

DEFAULTS: dict[str, dict[str, Any]] = {
    "bert": _BERT,
    "distilbert": _BERT,
    "ernie": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "longformer": _ROBERTA,
    "mpnet": _ROBERTA,
    "bart": _ROBERTA,
    "albert": {"learning_rate": 2e-5, "warmup": 0.1},
    "electra": _ELECTRA,
    "convbert": _ELECTRA,
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA,
    "modernbert": {"learning_rate": 5e-5, "warmup": 0.06, "weight_decay": 1e-5},
    "squeezebert": _BERT,
    "mobilebert": {"learning_rate": 5e-5, "warmup": 0.1},
    "fnet": _BERT,
    "gpt2": _DECODER,
    "opt": _DECODER,
    "t5": _T5,
    "mt5": _T5,
}
"""model_type of transformers -> option values by name."""
