"""Recommended settings by architecture, as published for fine-tuning on sentences; they are defaults only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FINE_TUNING: dict[str, dict[str, Any]] = {
    # Devlin et al. 2019
    "bert": {"learning_rate": 3e-5, "warmup": 0.1},
    # Sanh et al. 2019
    "distilbert": {"learning_rate": 5e-5, "warmup": 0.1},
    # Liu et al. 2019
    "roberta": {"learning_rate": 2e-5, "warmup": 0.06, "weight_decay": 0.1},
    # Conneau et al. 2020
    "xlm-roberta": {"learning_rate": 2e-5, "warmup": 0.06},
    # Lan et al. 2020
    "albert": {"learning_rate": 2e-5, "warmup": 0.06},
    # Clark et al. 2020
    "electra": {"learning_rate": 1e-4, "warmup": 0.1, "weight_decay": 0.0, "layer_decay": 0.8},
    # Jiang et al. 2020
    "convbert": {"learning_rate": 1e-4, "warmup": 0.1, "layer_decay": 0.8},
    # He et al. 2021 and 2023
    "deberta": {"learning_rate": 2e-5, "warmup": 0.1},
    "deberta-v2": {"learning_rate": 2e-5, "warmup": 0.1},
    # Warner et al. 2024
    "modernbert": {"learning_rate": 5e-5, "warmup": 0.06, "weight_decay": 8e-6},
    # Sun et al. 2020 (ERNIE 2.0)
    "ernie": {"learning_rate": 3e-5, "warmup": 0.1},
    # Iandola et al. 2020
    "squeezebert": {"learning_rate": 3e-5, "warmup": 0.1},
    # Sun et al. 2020 (MobileBERT)
    "mobilebert": {"learning_rate": 5e-5, "warmup": 0.1},
    # Song et al. 2020
    "mpnet": {"learning_rate": 2e-5, "warmup": 0.06, "weight_decay": 0.1},
    # Beltagy et al. 2020
    "longformer": {"learning_rate": 3e-5, "warmup": 0.1, "batch_size": 16},
    # Lee-Thorp et al. 2022
    "fnet": {"learning_rate": 5e-5, "warmup": 0.1},
    # Radford et al. 2018
    "gpt2": {"learning_rate": 6e-5, "warmup": 0.06},
    "opt": {"learning_rate": 2e-5, "warmup": 0.06},
    # Lewis et al. 2020, settings of the authors' GLUE recipe
    "bart": {"learning_rate": 2e-5, "warmup": 0.06},
    # Raffel et al. 2020 use Adafactor at 1e-3; with AdamW a tenth of it
    "t5": {"learning_rate": 1e-4, "warmup": 0.06},
    "mt5": {"learning_rate": 1e-4, "warmup": 0.06},
}
"""model_type of transformers -> option values by name."""

NARROW_BELOW = 512
NARROW: dict[str, dict[str, Any]] = {
    # Turc et al. 2019 tuned small BERTs over 3e-5 to 3e-4; for the rate of 6 layers of 384 see README, "Measured"
    "bert": {"learning_rate": 1e-4},
    # Clark et al. 2020
    "electra": {"learning_rate": 3e-4},
}
"""What encoders of a `hidden_size` below that want instead: they learn best at higher rates."""

WIDE_FROM = 1024
_SLOWLY = {"learning_rate": 1e-5}
WIDE: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "deberta-v2", "modernbert"), _SLOWLY),
    # Clark et al. 2020
    "electra": {"learning_rate": 5e-5, "layer_decay": 0.9},
}
"""What encoders of a `hidden_size` from that on want instead: at higher rates some of their runs do not learn."""

WITHOUT_MASKED_LM = ("gpt2", "opt", "t5", "mt5")
"""Architectures that were not made to fill masked positions: transformers has no such head for them."""

BYTE_LEVEL = {"modernbert": "RobertaTokenizer"}
"""Architectures with byte-level BPE of which transformers names no tokenizer that can be trained."""

REFUSED = {
    "xlnet": "a single text leaves its segment weights without gradients, which training on several devices needs"
}
"""Architectures that cannot be trained here, and why."""

FROM_SCRATCH: dict[str, Any] = {"learning_rate": 5e-4, "warmup": 0.1}
"""For random weights, which are far from anything that a small rate could reach."""


def fine_tuning(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings recommended for a checkpoint whose `config.json` holds these values; none for unknown architectures."""
    kind, width = str(config.get("model_type")), config.get("hidden_size")
    by_width: Mapping[str, Any] = {}
    if isinstance(width, int):
        by_width = NARROW if width < NARROW_BELOW else WIDE if width >= WIDE_FROM else {}
    return {**FINE_TUNING.get(kind, {}), **by_width.get(kind, {})}
