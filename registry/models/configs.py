"""Configurations of checkpoints: read, changed by options, and fitted to a head and a tokenizer.

A source's path is a Hub id, a local directory, or, from scratch, the name of an architecture that
transformers knows ("bert", "modernbert"), which needs no files at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.heads import Head
from registry.models.base import ModelSource
from registry.models.families import REFUSED
from registry.spelling import close_names

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

PROBLEMS: dict[str, Any] = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}

CHOOSES_CODE = ("auto_map", "attn_implementation", "experts_implementation", "transformers_weights", "kernel_config")
"""Keys of a configuration, with or without leading underscores, that name code or files to be loaded."""


def is_architecture(name: str) -> bool:
    """Whether transformers has an architecture of that name."""
    from transformers import CONFIG_MAPPING

    return name in CONFIG_MAPPING


def read_config(source: ModelSource, changes: Mapping[str, Any], others: Collection[str] = ()) -> PreTrainedConfig:
    """The configuration that `source` names, with `changes` in it.

    Args:
        others: options of the model beside its configuration's, for whoever misspelled one of them.

    Raises:
        ValueError: there is none, or it has no such values; says what would be right.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING

    values = read_values(source)
    kind = str(values.get("model_type"))
    if kind in REFUSED:
        raise ValueError(f"model {source.path!r}: {kind} cannot be trained here: {REFUSED[kind]}")
    if "AutoConfig" in values.get("auto_map", ()):
        from transformers.dynamic_module_utils import get_class_from_dynamic_module

        config_class: Any = get_class_from_dynamic_module(
            values["auto_map"]["AutoConfig"], source.path, revision=source.revision
        )
        config_class.register_for_auto_class()
    elif kind in CONFIG_MAPPING:
        config_class = CONFIG_MAPPING[kind]
    else:
        raise ValueError(
            f"model {source.path!r}: its model_type {kind!r} is not an architecture of transformers; "
            "if it brings code of its own, that runs only with --trust-remote-code"
        )
    changes = {config_class.attribute_map.get(key, key): value for key, value in changes.items()}
    _check_known(changes, {*config_class().to_dict(), *values}, others, kind)
    try:
        return config_class.from_dict({**_cut_lists(values, changes), **changes}, name_or_path=source.path)
    except (TypeError, ValueError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"model {source.path!r}: its configuration is not valid ({reason})") from error


def read_values(source: ModelSource) -> dict[str, Any]:
    """What `config.json` of a Hub id or local directory holds; of an architecture from scratch, its name alone."""
    from transformers import CONFIG_MAPPING, PreTrainedConfig

    folder = Path(source.path)
    if source.from_scratch and source.path in CONFIG_MAPPING and not folder.is_dir():
        return {"model_type": source.path}
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ValueError(f"{source.path}: no config.json, so it is no model that from_pretrained reads")
    try:
        values, _ = PreTrainedConfig.get_config_dict(source.path, revision=source.revision)
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"model {source.path!r} cannot be read as a Hub id or local directory: {reason}") from error
    return _harmless(values, keep=("auto_map",) if source.trust_remote_code else ())


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
    """Vocabulary size and special token ids of a model that starts from scratch, in place.

    Raises:
        ValueError: the architecture needs a special token that the tokenizer lacks.
    """
    from huggingface_hub.errors import StrictDataclassError

    before = {key: getattr(config, key, None) for key in ("pad_token_id", "eos_token_id", "bos_token_id")}
    config.vocab_size = len(tokenizer)
    for name in ("pad", "bos", "eos", "cls", "sep", "mask", "unk"):
        key = f"{name}_token_id"
        try:
            if hasattr(config, key):
                setattr(config, key, _token_id(tokenizer, name))
        except StrictDataclassError:
            raise ValueError(
                f"{config.model_type} needs a tokenizer with a {name} token, which this one lacks; "
                "give one with --model-option vocabulary=DIRECTORY"
            ) from None
    start = getattr(config, "decoder_start_token_id", None)
    if start is not None:
        meant = next((key for key, value in before.items() if value == start), "pad_token_id")
        config.decoder_start_token_id = getattr(config, meant)


def _token_id(tokenizer: PreTrainedTokenizerBase, name: str) -> int | None:
    """Id of a special token; a text of BERT's vocabulary ends with what separates texts."""
    found: int | None = getattr(tokenizer, f"{name}_token_id")
    return tokenizer.sep_token_id if found is None and name == "eos" else found


def _harmless(values: Mapping[str, Any], keep: tuple[str, ...]) -> dict[str, Any]:
    """`values` without what chooses code, in its nested configurations too."""
    return {
        key: _harmless(value, keep) if isinstance(value, dict) else value
        for key, value in values.items()
        if key in keep or not key.lstrip("_").startswith(CHOOSES_CODE)
    }


def _check_known(changes: Mapping[str, Any], known: set[str], others: Collection[str], kind: str) -> None:
    for key in changes:
        if key not in known or key.startswith("_"):
            close = close_names(key, known.union(others))
            hint = f"did you mean {', '.join(close)}?" if close else f"it has {', '.join(sorted({*others, *known}))}"
            raise ValueError(f"--model-option {key}: {kind} has no such option; {hint}")


def _cut_lists(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with lists of one entry a layer as long as the new number of layers; too short ones are left out."""
    before, layers = values.get("num_hidden_layers"), changes.get("num_hidden_layers")
    if layers is None or before is None:
        return dict(values)
    per_layer = {key for key, value in values.items() if isinstance(value, list) and len(value) == before}
    kept = {key: value for key, value in values.items() if key not in per_layer or layers <= before}
    return {key: value[:layers] if key in per_layer else value for key, value in kept.items()}
