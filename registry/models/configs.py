"""Configurations of checkpoints: read, changed by options, and fitted to a head and a tokenizer.

A source's path is a Hub id, a local directory, or, from scratch, the name of an architecture that
transformers knows ("bert", "modernbert"), which needs no files at all.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.heads import Head
from registry.models.base import ModelSource

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

PROBLEMS: dict[str, Any] = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}

UNTRUSTED = ("auto_map", "attn_implementation", "_attn_implementation", "_attn_implementation_internal")
"""Keys of a saved configuration that would choose code: remote classes, attention kernels of the Hub."""


def is_architecture(name: str) -> bool:
    """Whether transformers has an architecture of that name."""
    from transformers import CONFIG_MAPPING

    return name in CONFIG_MAPPING


def read_config(source: ModelSource) -> PreTrainedConfig:
    """The configuration that `source` names.

    Raises:
        ValueError: there is none; says what would be right.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    if source.from_scratch and source.path in CONFIG_MAPPING and not Path(source.path).is_dir():
        return CONFIG_MAPPING[source.path]()
    if Path(source.path).is_dir() and not (Path(source.path) / "config.json").is_file():
        raise ValueError(f"{source.path}: no config.json, so it is no model that from_pretrained reads")
    try:
        return AutoConfig.from_pretrained(
            source.path, revision=source.revision, trust_remote_code=source.trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"model {source.path!r} cannot be read as a Hub id or local directory: {reason}") from error


def read_saved_config(directory: Path) -> PreTrainedConfig:
    """The configuration in a directory that `save` wrote, without anything in it that chooses code."""
    from transformers import CONFIG_MAPPING

    values = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    kind = values.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise ValueError(f"{directory / 'config.json'}: model_type {kind!r} is not an architecture of transformers")
    return CONFIG_MAPPING[kind].from_dict({key: value for key, value in values.items() if key not in UNTRUSTED})


def override(config: PreTrainedConfig, values: Mapping[str, Any]) -> None:
    """Set configuration values by name, in place.

    Raises:
        ValueError: the architecture has no such value (suggests the nearest), or it is of another type.
    """
    known = [key for key in config.to_dict() if not key.startswith("_")]
    for key, value in values.items():
        if not hasattr(config, key) or key.startswith("_") or callable(getattr(config, key)):
            close = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
            hint = f"; did you mean {', '.join(close)}?" if close else f"; it has {', '.join(sorted(known))}"
            raise ValueError(f"--model-option {key}: {config.model_type} has no such option{hint}")
        present = getattr(config, key)
        if present is not None and not _same_type(present, value):
            raise ValueError(f"--model-option {key}={value}: expected a value like {present!r}")
        setattr(config, key, value)


def set_dropout(config: PreTrainedConfig, dropout: float) -> None:
    """Every dropout probability of the configuration, and no more layer dropping than that, in place."""
    for key, value in config.to_dict().items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if "layerdrop" in key:
            setattr(config, key, min(value, dropout))
        elif "drop" in key:
            setattr(config, key, dropout)


def set_head(config: PreTrainedConfig, head: Head) -> None:
    """Label names and kind of problem, as transformers' pipelines read them, in place."""
    if head.kind == "masked-lm":
        return
    config.num_labels = head.outputs
    if len(head.labels) == head.outputs:
        config.id2label = dict(enumerate(head.labels))
        config.label2id = {label: index for index, label in enumerate(head.labels)}
    config.problem_type = PROBLEMS[head.problem]


def set_vocabulary(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Vocabulary size and special token ids of a model that starts from scratch, in place."""
    before = {key: getattr(config, key, None) for key in ("pad_token_id", "eos_token_id", "bos_token_id")}
    config.vocab_size = len(tokenizer)
    for name in ("pad", "bos", "eos", "cls", "sep", "mask", "unk"):
        key = f"{name}_token_id"
        if hasattr(config, key):
            setattr(config, key, getattr(tokenizer, key))
    start = getattr(config, "decoder_start_token_id", None)
    if start is not None:
        meant = next((key for key, value in before.items() if value == start), "pad_token_id")
        config.decoder_start_token_id = getattr(tokenizer, meant)


def _same_type(present: Any, value: Any) -> bool:
    if isinstance(present, bool) or isinstance(value, bool):
        return isinstance(present, bool) and isinstance(value, bool)
    if isinstance(present, float):
        return isinstance(value, (int, float))
    return isinstance(value, type(present))
