"""The `transformer` spec: any architecture of transformers, pretrained or from random weights.

Heads are those of transformers' Auto classes, so that its `from_pretrained` and `pipeline` read what is
saved; where there is none, or another pooling or a hidden layer is asked for, it is `HeadedEncoder`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from registry.heads import MASKED_LM, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, Head
from registry.models.base import MissingCheckpoint, ModelSource, ModelSpec, Texts
from registry.models.configs import (
    read_config,
    read_values,
    set_dropout,
    set_head,
    set_vocabulary,
)
from registry.plugins import describe_options, not_an_option, option, other_options

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

    from registry.models.head_plans import HeadPlan

FLASH = "flash_attention_2"
HEADS = (SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, MASKED_LM)


@dataclass(frozen=True, kw_only=True)
class Transformer(ModelSpec):
    """Models of transformers.

    Args:
        architecture: a model_type of transformers ("bert") for models that never have a checkpoint.
        trust_remote_code: whether `load` may run code that the saved model brings.
    """

    heads: tuple[str, ...] = not_an_option(HEADS)
    architecture: str = not_an_option("")
    trust_remote_code: bool = not_an_option(False)
    pooling: Literal["default", "cls", "pooler", "mean", "max", "last"] = option(
        "default",
        "Token states to one vector a text; `default` is the architecture's own head, and with head_hidden the mean "
        "(last of a decoder).",
    )
    head_hidden: int = option(
        0, "Width of a hidden ReLU layer in a head of ours, in place of the architecture's; 0 for none.", minimum=0
    )
    dropout: float | None = option(None, "Every dropout; none: as the checkpoint says.", minimum=0, maximum=1)
    reinit_layers: int = option(0, "Top layers that start from random weights.", minimum=0)
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = option("auto", "Attention kernels.")
    vocabulary: str = option("", "Directory of a tokenizer or vocab.txt for models from scratch; else one is trained.")
    vocabulary_size: int = option(8192, "Entries of a tokenizer that is trained.", minimum=64)
    config: Mapping[str, Any] = other_options("Values of the architecture's configuration (num_hidden_layers=4).")

    def tokenizer(self, source: ModelSource, texts: Texts) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer; from scratch the given one, or one of its kind trained on `texts`."""
        from registry.models.tokenizer_training import train_tokenizer
        from registry.models.tokenizers import given_tokenizer, load_tokenizer

        source = self._source(source)
        config = self._config(source)
        if self.vocabulary and not source.from_scratch:
            raise ValueError("--model-option vocabulary is for models from scratch (add --from-scratch)")
        if self.vocabulary:
            tokenizer = given_tokenizer(self.vocabulary)
        elif source.from_scratch:
            tokenizer = train_tokenizer(config.model_type, texts, self.vocabulary_size)
        else:
            tokenizer = load_tokenizer(source)
        return _fitted(tokenizer, config, source)

    def build(self, head: Head, tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> nn.Module:
        """The module, in float32 on the CPU: the checkpoint's weights under a new head, or random ones."""
        from registry.models.building import new_module, pretrained_module, reinitialise
        from registry.models.head_plans import default_pooling
        from registry.models.saved_heads import saved_head

        source = self._source(source)
        config = self._config(source)
        saved = saved_head(config)
        set_head(config, head)
        ends_by_pad = default_pooling(config) == "last"
        if not ends_by_pad and getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = tokenizer.pad_token_id
        if source.from_scratch:
            set_vocabulary(config, tokenizer)
            module = new_module(self._plan(config, head, source), config)
        else:
            module = pretrained_module(self._plan(config, head, source), config, source, len(tokenizer), saved)
            reinitialise(module, self.reinit_layers)
        if ends_by_pad:  # once the embeddings are there, for the pad token may have been added to them
            _set_pad_token(module, tokenizer)
        return module

    def allow_packing(self, module: nn.Module) -> None:
        """Let the module compute the real tokens of a batch alone, where the architecture keeps texts apart."""
        from registry.models.packing import allow_packing

        allow_packing(module)

    def spare_last_layer(self, module: nn.Module) -> bool:
        """Let the module compute its last layer for the first token or masked positions alone, where that is all."""
        from registry.models.last_layer import spare_last_layer

        return spare_last_layer(module)

    def save(self, module: nn.Module, state_dict: Mapping[str, Tensor], directory: Path) -> None:
        """Write `config.json` and `model.safetensors`."""
        from registry.models.building import save_module

        save_module(module, state_dict, directory)

    def load(self, directory: Path, head: Head) -> nn.Module:
        """The module that `save` wrote; runs no code but transformers' and ours, unless it is trusted."""
        from registry.models.building import load_module

        source = self._saved(directory)
        config = read_config(source, {})
        self._set_attention(config)
        return load_module(self._plan(config, head, source), config, directory)

    def load_tokenizer(self, directory: Path) -> PreTrainedTokenizerBase:
        """The tokenizer saved beside the weights."""
        from registry.models.tokenizers import load_tokenizer

        return load_tokenizer(self._saved(directory))

    def layer_map(self, module: nn.Module) -> dict[str, int]:
        """Depth of every parameter by name, found from the module's layer stacks."""
        from registry.models.layers import layer_map

        return layer_map(module)

    def for_source(self, source: ModelSource) -> Transformer:
        """The spec with the settings recommended for random weights, or for the checkpoint's architecture."""
        from registry.models.families import FROM_SCRATCH, fine_tuning

        if not source.path:
            return self
        if source.from_scratch:
            return dataclasses.replace(self, defaults=FROM_SCRATCH)
        if self.checkpoint or self.architecture:
            return self
        return dataclasses.replace(self, defaults=fine_tuning(read_values(source)))

    def continue_from(self, directory: Path) -> Transformer:
        """The spec without what a model is born with: sizes and vocabulary are those of the directory."""
        return dataclasses.replace(self, vocabulary="", reinit_layers=0, config={})

    @property
    def redrawn_layers(self) -> int:
        """As `reinit_layers` says."""
        return self.reinit_layers

    def for_inference(self) -> Transformer:
        """The spec without flash attention, which computes neither in float32 nor on a CPU: SDPA gives the same."""
        return self if self.attention != FLASH else dataclasses.replace(self, attention="sdpa")

    def unused(self, head: Head, source: ModelSource) -> Mapping[str, str]:
        """Of the head's options those that it lacks, and what is for fresh or for trained weights alone."""
        found = {}
        if head.kind != SEQUENCE_CLASSIFICATION:
            found["pooling"] = f"is for labels of whole texts, not for {head.kind}"
        if head.kind == MASKED_LM:
            found["head_hidden"] = f"is for labels, not for {head.kind}"
        if self._source(source).from_scratch:
            found["reinit_layers"] = "is for pretrained weights; from scratch all layers are new"
        else:
            found["vocabulary_size"] = "is for random weights; a checkpoint comes with its vocabulary"
        return found

    def redrawn_head(self, head: Head, source: ModelSource) -> str:
        """That the checkpoint's head is of another kind, or its labels have other names."""
        from registry.models.saved_heads import clash, saved_head

        source = self._source(source)
        return "" if source.from_scratch else clash(saved_head(self._config(source)), head)

    def _source(self, source: ModelSource) -> ModelSource:
        if source.path:
            return source
        if not self.architecture:
            raise MissingCheckpoint("model 'transformer' needs a Hub id, a local directory or an architecture's name")
        return dataclasses.replace(source, path=self.architecture, from_scratch=True)

    def _config(self, source: ModelSource) -> PreTrainedConfig:
        if self.attention == FLASH:
            _check_flash()
        config = read_config(source, self.config, [option.name for option in describe_options(self)[:-1]])
        if self.dropout is not None:
            set_dropout(config, self.dropout)
        if hasattr(config, "use_cache"):
            config.use_cache = False
        self._set_attention(config)
        return config

    def _set_attention(self, config: PreTrainedConfig) -> None:
        if self.attention != "auto":
            config._attn_implementation = self.attention

    def _saved(self, directory: Path) -> ModelSource:
        return ModelSource(path=str(directory), trust_remote_code=self.trust_remote_code)

    def _plan(self, config: PreTrainedConfig, head: Head, source: ModelSource) -> HeadPlan:
        from registry.models.head_plans import plan_head

        return plan_head(config, head, source, pooling=self.pooling, hidden=self.head_hidden, dropout=self.dropout)


def _set_pad_token(module: nn.Module, tokenizer: PreTrainedTokenizerBase) -> None:
    """The pad token by which a decoder's head finds the last token of a text, in place.

    Encoders keep the one that they were trained with: RoBERTa's positions begin behind it.
    """
    config: Any = module.config
    config.get_text_config().pad_token_id = tokenizer.pad_token_id


def _check_flash() -> None:
    from transformers.utils.import_utils import is_flash_attn_2_available

    if not is_flash_attn_2_available():
        raise ValueError(f"--attention {FLASH} needs an NVIDIA GPU and pip install flash-attn; use sdpa")


def _fitted(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, source: ModelSource
) -> PreTrainedTokenizerBase:
    """The tokenizer with the inputs, the pad token and the longest text that suit the architecture."""
    from registry.models.skeleton import skeleton
    from registry.models.tokenizers import fit_tokenizer

    if source.from_scratch:  # ESM's configuration has no size of its own
        set_vocabulary(config, tokenizer)
    accepted, positions = skeleton(config, source)
    fit_tokenizer(tokenizer, accepted, positions)
    return tokenizer


transformer = Transformer(
    description="Any encoder, decoder or encoder-decoder of transformers, by Hub id or directory."
)
