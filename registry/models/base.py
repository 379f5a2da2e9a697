"""The Model contract: how a model is built for a head, saved, loaded and described.

A spec is a frozen dataclass; fields whose metadata does not say ``option: False`` are what
``--model-option key=value`` may set. The module it builds takes the tokenised inputs by name
(``input_ids``, ``attention_mask``, …; for masked-lm optionally ``scored_positions``) and returns a
mapping with ``logits``: (batch, labels), (batch, length, labels) or (scored, vocabulary). It may add
``pooled`` (batch, width), ``predictions`` and its own ``loss_sum`` (then the spec says
``wants_labels`` and forward takes ``labels``), with ``scored_loss`` (batch,) beside it. Only forward
may touch parameters. It may take ``pooled`` in place of the inputs, so that a frozen encoder runs
once over every row. A tokenizer whose ``model_input_names`` have ``word_mask``
gets, on token classification, a (batch, length) mask of the tokens that carry a word's label,
labelled or not.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from registry.heads import Head
from registry.plugins import not_an_option

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class ModelSource:
    """Where weights come from.

    Args:
        path: Hub id or local directory; empty for models without a checkpoint.
        revision: commit, tag or branch on the Hub.
        from_scratch: random weights of the checkpoint's architecture.
        trust_remote_code: run code that a checkpoint brings; off unless the person says so.
    """

    path: str = ""
    revision: str | None = None
    from_scratch: bool = False
    trust_remote_code: bool = False


class MissingCheckpoint(ValueError):
    """A model that takes its configuration from a checkpoint was asked for without one."""


Texts = Callable[[], Iterable[str]]
"""A lazy view of the cleaned training texts, for tokenizers that are trained on them."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec(abc.ABC):
    """Base of the models.

    Args:
        description: one line for `plugins.py list`.
        heads: head kinds that it can build.
        checkpoint: Hub id or directory that the name stands for; empty where there is none.
        defaults: recommended option values, by name (`{"learning_rate": 2e-5}`).
        lora_targets: module name suffixes that adapters attach to; empty: found by shape.
        pads_freely: whether more padding leaves the logits alone (else batches of equal length).
        wants_labels: whether forward takes `labels` and returns `loss_sum`.
    """

    contract: ClassVar[int] = 1

    description: str = not_an_option("")
    heads: tuple[str, ...] = not_an_option(())
    checkpoint: str = not_an_option("")
    defaults: Mapping[str, Any] = not_an_option({})
    lora_targets: tuple[str, ...] = not_an_option(())
    pads_freely: bool = not_an_option(True)
    wants_labels: bool = not_an_option(False)

    @abc.abstractmethod
    def tokenizer(self, source: ModelSource, texts: Texts) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer, or one trained on `texts`; fast, loadable by AutoTokenizer."""

    @abc.abstractmethod
    def build(self, head: Head, tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> nn.Module:
        """The module, in float32 on the CPU. ValueError in one line where it cannot be."""

    def fit(  # noqa: B027 (most models have nothing to compute)
        self, module: nn.Module, examples: Iterable[Mapping[str, Any]], head: Head, seed: int
    ) -> None:
        """Set what is computed, not learned by updates: word vectors, idf weights, a threshold.

        Called once before the first update, on every process alike, with the encoded training examples
        (`input_ids`, `labels`) in order; results belong in the module's state dict.
        """

    def allow_packing(self, module: nn.Module) -> None:
        """Let the module take what `registry.models.packing` adds to its inputs and compute no padding, in place.

        Raises:
            ValueError: a model of this kind cannot.
        """
        raise ValueError("--packing: a model of this kind cannot keep texts in one row apart; leave it out")

    def spare_last_layer(self, module: nn.Module) -> bool:
        """Let the module, in place, compute its last layer for what the head reads alone; whether it can."""
        return False

    @abc.abstractmethod
    def save(self, module: nn.Module, state_dict: Mapping[str, Tensor], directory: Path) -> None:
        """Write configuration and `state_dict` (gathered by the engine) to `directory`, safetensors only."""

    @abc.abstractmethod
    def load(self, directory: Path, head: Head) -> nn.Module:
        """The module that `save` wrote; needs no training texts and no network."""

    def load_tokenizer(self, directory: Path) -> PreTrainedTokenizerBase:
        """The tokenizer saved beside the weights."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)

    @abc.abstractmethod
    def layer_map(self, module: nn.Module) -> dict[str, int]:
        """Depth of every parameter by name: 0 for embeddings, rising, the head highest."""

    def unused(self, head: Head, source: ModelSource) -> Mapping[str, str]:
        """Options that this head or these weights have no use for, with the reason: whoever sets one is told."""
        return {}

    @property
    def redrawn_layers(self) -> int:
        """Layers that start from random weights though the others are trained: those that training must change."""
        return 0

    def redrawn_head(self, head: Head, source: ModelSource) -> str:
        """Why `build` draws the head anew though the weights come with one of as many outputs; empty where not."""
        return ""

    def ignores_padding(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether more padding leaves the logits alone; a model without a mask never sees padding."""
        return self.pads_freely and "attention_mask" in tokenizer.model_input_names

    def for_source(self, source: ModelSource) -> ModelSpec:
        """The spec with what suits these weights, such as the settings recommended for their architecture."""
        return self

    def continue_from(self, directory: Path) -> ModelSpec:
        """The spec that trains further what `save` wrote to `directory`, on any task.

        Raises:
            ValueError: a model of this kind always starts anew.
        """
        raise ValueError(f"{directory.parent}: a model of this kind cannot be trained further; give its name instead")

    def for_inference(self) -> ModelSpec:
        """The spec that loads a trained model for any device and precision: without kernels that suit only some."""
        return self
