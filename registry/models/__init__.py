"""What learns: the Model contract, transformers, baselines, heads and adapters. Importing this imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from registry.models.checkpoints import CHECKPOINTS, attribute
from registry.plugins import Registry

if TYPE_CHECKING:
    from registry.models.base import ModelSource, ModelSpec

REGISTRY: Registry = Registry(  # type: ignore[type-arg]
    kind="model",
    group="registry.models",
    builtins={
        "tiny": "registry.models.named:tiny",
        "transformer": "registry.models.transformer:transformer",
        **{name: f"registry.models.named:checkpoints.{attribute(name)}" for name in CHECKPOINTS},
        "rnn": "registry.models.recurrent:rnn",
        "gru": "registry.models.recurrent:gru",
        "lstm": "registry.models.recurrent:lstm",
        "bilstm": "registry.models.recurrent:bilstm",
        "bilstm-crf": "registry.models.recurrent:bilstm_crf",
        "textcnn": "registry.models.textcnn:textcnn",
        "transformer-encoder": "registry.models.encoder:transformer_encoder",
        "bow": "registry.models.bow:bow",
        "lexicon": "registry.models.lexicon:lexicon",
    },
    contract="registry.models.base:ModelSpec",
)

register, get, names = REGISTRY.register, REGISTRY.get, REGISTRY.names
origin, entries, get_recorded = REGISTRY.origin, REGISTRY.entries, REGISTRY.get_recorded


def resolve_model(name: str, **source: Any) -> tuple[ModelSpec, ModelSource]:
    """Spec and weights of a registered name, a run directory, a local directory or a Hub id (see `resolution`)."""
    from registry.models.resolution import resolve_model

    return resolve_model(name, **source)
