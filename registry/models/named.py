"""Models by short name: checkpoints of the Hub with their family's defaults, and those that need none."""

from __future__ import annotations

from registry.models.families import DEFAULTS
from registry.models.transformer import Transformer


def _checkpoint(path: str, family: str, description: str) -> Transformer:
    return Transformer(description=description, checkpoint=path, defaults=DEFAULTS[family])


tiny = Transformer(
    description="2-layer BERT from random weights, its WordPiece vocabulary trained on the task's texts.",
    architecture="bert",
    vocabulary_size=4000,
    config={
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 256,
        "max_position_embeddings": 512,
    },
    defaults={"learning_rate": 1e-3, "warmup": 0.1},
)

bert_base_uncased = _checkpoint("google-bert/bert-base-uncased", "bert", "BERT base, English, lower case.")
roberta_base = _checkpoint("FacebookAI/roberta-base", "roberta", "RoBERTa base, English.")
