"""A linear classifier on word and n-gram counts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from registry.heads import SEQUENCE_CLASSIFICATION, Head
from registry.models.base import ModelSource, ModelSpec, Texts
from registry.models.baseline import CONFIG, WEIGHTS, save_module
from registry.models.vocabulary import Level, train_vocabulary
from registry.plugins import not_an_option, option, options_of, with_options

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from registry.models.networks.bag_of_words import BagOfWords

Weighting = Literal["tfidf", "counts", "binary"]


@dataclass(frozen=True, kw_only=True)
class LinearBag(ModelSpec):
    """Logistic regression on TF-IDF, counts or presence of words and n-grams."""

    level: Level = option("word", "Tokens are words or single characters.")
    lowercase: bool = option(True, "Whether the vocabulary ignores case.")
    vocabulary_size: int = option(50_000, "Entries of the vocabulary at most.", minimum=5)
    min_count: int = option(2, "Rarer words are unknown.", minimum=1)
    weighting: Weighting = option("tfidf", "Value of a feature.")
    ngrams: int = option(2, "Longest run of words that is a feature.", minimum=1, maximum=5)
    buckets: int = option(2**18, "Hashed features that the n-grams of two and more share.", minimum=1)
    heads: tuple[str, ...] = not_an_option((SEQUENCE_CLASSIFICATION,))

    def tokenizer(self, source: ModelSource, texts: Texts) -> PreTrainedTokenizerBase:
        """Trained on the texts."""
        return train_vocabulary(
            texts(),
            level=self.level,
            lowercase=self.lowercase,
            max_size=self.vocabulary_size,
            min_count=self.min_count,
        )

    def build(self, head: Head, tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> BagOfWords:
        """Zero weights."""
        return self._bag(head, len(tokenizer))

    def fit(self, module: nn.Module, examples: Iterable[Mapping[str, Any]], head: Head, seed: int) -> None:
        """Count in how many texts each feature stands."""
        if self.weighting == "tfidf":
            cast("BagOfWords", module).set_idf(examples)

    def save(self, module: nn.Module, state_dict: Mapping[str, Tensor], directory: Path) -> None:
        """`model.safetensors`, and in `config.json` the options and the size."""
        size = cast("BagOfWords", module).words
        save_module(state_dict, {"options": options_of(self), "size": size}, directory)

    def load(self, directory: Path, head: Head) -> BagOfWords:
        """The module with the options it was saved with."""
        from safetensors.torch import load_file

        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        bag = with_options(self, config["options"])._bag(head, config["size"])
        bag.load_state_dict(load_file(directory / WEIGHTS))
        return bag

    def layer_map(self, module: nn.Module) -> dict[str, int]:
        """There is only one layer."""
        return {name: 0 for name, _ in module.named_parameters()}

    def _bag(self, head: Head, words: int) -> BagOfWords:
        from registry.models.networks.bag_of_words import BagOfWords

        return BagOfWords(head.outputs, words, self.ngrams, self.buckets, self.weighting)


bow = LinearBag(
    description="linear classifier on TF-IDF of words and word pairs",
    defaults={
        "learning_rate": 2e-2,
        "epochs": 3,
        "batch_size": 64,
        "max_length": 2048,
        "weight_decay": 0.01,
        "precision": "fp32",
    },
)
