"""Models by short name: checkpoints of the Hub with their family's defaults, and `tiny`, which needs none."""

from __future__ import annotations

from types import SimpleNamespace

from registry.heads import MASKED_LM
from registry.models.checkpoints import CHECKPOINTS, Checkpoint, attribute
from registry.models.families import FINE_TUNING, WITHOUT_MASKED_LM
from registry.models.transformer import HEADS, Transformer


def _spec(checkpoint: Checkpoint) -> Transformer:
    return Transformer(
        description=checkpoint.description,
        checkpoint=checkpoint.path,
        heads=tuple(kind for kind in HEADS if kind != MASKED_LM or checkpoint.family not in WITHOUT_MASKED_LM),
        defaults={**FINE_TUNING[checkpoint.family], **checkpoint.defaults},
    )


checkpoints = SimpleNamespace(**{attribute(name): _spec(entry) for name, entry in CHECKPOINTS.items()})

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
